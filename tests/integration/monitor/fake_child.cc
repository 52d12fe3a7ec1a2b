// In the place of bulkhead-vcpu-host and bulkhead-blk: does what a test asks for, at the moment that it asks for.
// The kernel command line says so for the former, "MOMENT:ACTION", where a moment is load, kvm or start; the
// disk's serial number for the latter, "ACTION". A vcpu-host that runs goes on by words on its serial port.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "ipc/control_channel.h"
#include "ipc/schema/control.capnp.h"

namespace {

using ipc::UniqueFd;
namespace schema = ipc::schema;

constexpr int kFloodFrames = 20'000;
constexpr std::size_t kFloodBytes = 4 << 20;

// Both kinds of children say these in the same words.
template <class Said>
class Fake {
 public:
  // The message that `fill` makes, however long the monitor takes to read.
  template <class Fill>
  void say(Fill fill, std::size_t descriptors = 0) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<Said>());
    const std::vector<int> fds(descriptors, 0);
    while (true) {
      const auto sent = control.send(message, fds);
      if (sent) return;
      if (sent.error().code != EAGAIN) std::_Exit(99);
      pollfd writable{.fd = control.socket().get(), .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
    }
  }
  void say_sealed(std::size_t descriptors, std::uint32_t layers = 0) {
    say([&](auto message) { message.initSealed().setLayers(layers); }, descriptors);
  }
  void say_failed(schema::Failure::Kind kind, int code, const std::string& context) {
    say([&](auto message) {
      auto failed = message.initFailed();
      failed.setKind(kind);
      failed.setCode(code);
      failed.setContext(context.c_str());
    });
  }
  void send_bytes(std::size_t size, char byte) {
    const std::string bytes(size, byte);
    [[maybe_unused]] const ssize_t sent = ::write(control.socket().get(), bytes.data(), bytes.size());
  }

  void act(std::string_view action) {
    if (action == "exit7") std::_Exit(7);
    if (action == "exit0") std::_Exit(0);
    if (action == "trap") __builtin_trap();
    if (action == "garbage") send_bytes(64, '\xff');
    if (action == "odd") send_bytes(13, '\0');
    if (action == "large") send_bytes(ipc::kMaxFrameBytes + 8, '\0');
    if (action == "descriptors") say_sealed(200);
    if (action == "sealed") say_sealed(0);
    if (action == "frames")
      for (int i = 0; i < kFloodFrames; ++i) say_sealed(0);
    if (action == "log") flood_log();
    if (action == "bad-config") say_failed(schema::Failure::Kind::CONFIGURATION, EINVAL, "kernel: not to be used");
    if (action == "bad-host") say_failed(schema::Failure::Kind::HOST, 0, "something is lacking");
    if (action == "bad-self") say_failed(schema::Failure::Kind::INTERNAL, EIO, "a defect");
    if (action == "no-reason") say_failed(schema::Failure::Kind::CONFIGURATION, 0, "");
    if (action == "hostile") {
      std::string text;
      while (text.size() < 60'000) text += "\x1b[2J\nbulkhead: vm: a lie\r";
      say_failed(schema::Failure::Kind::INTERNAL, -77, text);
    }
  }

  ipc::ControlChannel control{UniqueFd(3)};

 private:
  void flood_log() {
    const std::string line = "a line\x1b[2J of \xff many\n";
    for (std::size_t bytes = 0; bytes < kFloodBytes; bytes += line.size())
      if (::write(2, line.data(), line.size()) < 0) return;
  }
};

int run_blk() {
  Fake<schema::FromBackend> fake;
  auto setup = fake.control.receive();
  if (!setup || !*setup) return 98;
  const std::string action = (*setup)->template root<schema::ToBackend>().getBlock().getSerial().cStr();
  fake.act(action);
  const std::uint32_t layers = action.starts_with("layers") ? std::stoul(action.substr(6), nullptr, 2) : 0;
  if (action != "descriptors") fake.say_sealed(0, layers);  // it has said so already
  while (true) {
    const auto more = fake.control.receive();
    if (!more || !*more) return 0;
  }
}

class VcpuHost {
 public:
  int run() {
    while (true) {
      auto frame = fake_.control.receive();
      if (!frame || !*frame) return 0;
      const auto message = (*frame)->template root<schema::ToVcpuHost>();
      switch (message.which()) {
        case schema::ToVcpuHost::SETUP:
          cmdline_ = message.getSetup().getCmdline().cStr();
          cpus_ = message.getSetup().getCpus();
          serial_ = std::move((*frame)->fds.at(1));
          // The monitor keeps the kernel open over reboots, and with it the file's offset.
          boot_ = ::lseek((*frame)->fds.at(2).get(), 1, SEEK_CUR);
          break;
        case schema::ToVcpuHost::LOAD:
          at("load");
          fake_.say([](auto said) { said.setLoaded(); });
          break;
        case schema::ToVcpuHost::KVM:
          at("kvm");
          fake_.say_sealed(1u + cpus_);
          break;
        case schema::ToVcpuHost::START:
          at("start");
          return serve();
        case schema::ToVcpuHost::DEVICE:
        case schema::ToVcpuHost::BACK_END:
        case schema::ToVcpuHost::POWER_BUTTON:
          break;
      }
    }
  }

 private:
  void at(const std::string& moment) {
    if (!cmdline_.starts_with(moment + ":")) return;
    const std::string action = cmdline_.substr(moment.size() + 1);
    if (action == "off") fake_.say([](auto message) { message.setPoweredOff(); });
    fake_.act(action);
  }

  void print(const std::string& text) {
    [[maybe_unused]] const ssize_t written = ::write(serial_.get(), text.data(), text.size());
  }

  int serve() {
    print(fmt::format("boot {}\n", boot_));
    std::string word;
    std::array<pollfd, 2> ready{pollfd{.fd = fake_.control.socket().get(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = serial_.get(), .events = POLLIN, .revents = 0}};
    while (::poll(ready.data(), ready.size(), -1) > 0) {
      if (ready[0].revents != 0) {
        auto frame = fake_.control.receive();
        if (!frame || !*frame) return 0;
        listen((*frame)->template root<schema::ToVcpuHost>(), (*frame)->fds.size());
      }
      char byte = 0;
      if (ready[1].revents == 0 || ::read(serial_.get(), &byte, 1) != 1) continue;
      if (byte != '\n') {
        word += byte;
      } else {
        obey(std::exchange(word, {}));
      }
    }
    return 97;
  }

  void listen(schema::ToVcpuHost::Reader order, std::size_t descriptors) {
    if (order.isPowerButton()) print("power button\n");
    if (!order.isBackEnd()) return;
    print(fmt::format("another back end for {}, {} descriptors\n", order.getBackEnd(), descriptors));
    say_replaced(order.getBackEnd());
  }

  void say_replaced(std::uint16_t slot) {
    fake_.say([&](auto message) {
      auto replaced = message.initBackEndReplaced();
      replaced.setSlot(slot);
      replaced.setGapMicroseconds(1500);
    });
  }

  void lose(bool needs_reset) {
    fake_.say([&](auto message) {
      auto lost = message.initBackEndLost();
      lost.setSlot(0);
      lost.setReason("it does not answer\n");
      lost.setNeedsReset(needs_reset);
    });
  }

  void obey(const std::string& word) {
    if (word == "off") fake_.say([](auto message) { message.setPoweredOff(); });
    if (word == "reset") fake_.say([](auto message) { message.setResetRequested(); });
    if (word == "crash") fake_.say([](auto message) { message.setCrashed("triple fault\x1b[2J"); });
    if (word == "silent") lose(false);
    if (word == "replaced")
      for (int i = 0; i < kFloodFrames; ++i) say_replaced(0);
    if (word == "reset-needed") lose(true);
    if (word == "no-device") fake_.say([](auto message) { message.initBackEndLost().setSlot(31); });
    if (word == "no-replacement") fake_.say([](auto message) { message.initBackEndReplaced().setSlot(31); });
    fake_.act(word);
  }

  Fake<schema::FromVcpuHost> fake_;
  std::string cmdline_;
  unsigned cpus_ = 0;
  UniqueFd serial_;
  off_t boot_ = 0;
};

}  // namespace

int main(int, char** argv) {
  if (std::string_view(argv[0]).ends_with("blk")) return run_blk();
  return VcpuHost().run();
}
