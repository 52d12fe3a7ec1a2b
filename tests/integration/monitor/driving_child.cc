// In the place of bulkhead-vcpu-host: the real front end and the real link to the monitor, with a driver in place of a
// guest, which writes stamps to the first disk and reads them back until "finish" comes on its serial port. Then it
// reads every block once more, tells what went wrong, and powers off.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "tests/integration/blk/stamped_load.h"
#include "vcpu-host/layout.h"
#include "vcpu-host/monitor_link.h"
#include "vcpu-host/virtio/front_end.h"

namespace {

using ipc::UniqueFd;
using namespace vcpu_host;

UniqueFd duplicate(const UniqueFd& fd) {
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

class Driver final : private FrontEnd::Listener {
 public:
  Driver(MonitorLink& monitor, MachineSpec spec)
      : monitor_(monitor),
        spec_(std::move(spec)),
        load_(std::random_device{}(), spec_.cmdline == "packed" ? support::Layout::Packed : support::Layout::Split,
              support::GuestRam(duplicate(spec_.ram), StampedLoad::kRam)) {}

  int run() {
    if (!set_up()) return 96;
    while (!finished_) {
      static_cast<void>(loop_.run_once(0));
      if (begun_) load_.run_for(std::chrono::microseconds(100));
      pollfd word{.fd = spec_.serial.get(), .events = POLLIN, .revents = 0};
      char text[16];
      if (::poll(&word, 1, begun_ ? 0 : 1) > 0 && ::read(spec_.serial.get(), text, sizeof text) > 0) finish();
    }
    return 0;
  }

 private:
  bool set_up() {
    auto whole = ipc::Mapping::of(spec_.ram, 0, spec_.ram_bytes, ipc::Access::ReadWrite);
    if (!whole || !memory_.add_region({0}, spec_.ram_bytes, std::move(*whole))) return false;
    DeviceSpec& device = spec_.devices.at(0);
    for (std::size_t i = 0; i < load_.queues().size(); ++i)
      load_.queues()[i].adopt(duplicate(device.kicks.at(i)), duplicate(device.calls.at(i)));
    auto front_end = FrontEnd::connect(
        loop_,
        {.back_end = std::move(device.back_end), .kicks = std::move(device.kicks), .calls = std::move(device.calls)},
        {spec_.ram, spec_.ram_bytes, memory_});
    if (!front_end) return false;
    front_end_ = std::move(*front_end);
    front_end_->set_listener(this);
    if (!monitor_.send_loaded() || !monitor_.receive_kvm()) return false;
    const std::vector<int> descriptors(1 + spec_.cpus, STDIN_FILENO);
    return monitor_.send_sealed({}, descriptors) && loop_.watch(monitor_.socket(), [this] { obey(); });
  }

  void obey() {
    auto order = monitor_.receive_order();
    if (!order && order.error().code == EAGAIN) return;
    if (!order) std::_Exit(0);
    if (std::holds_alternative<Start>(*order)) {
      begun_ = true;
      back_end_stopped();
    } else if (auto* another = std::get_if<Reconnect>(&*order)) {
      front_end_->reconnect(std::move(another->back_end));
    }
  }

  void finish() {
    const auto wait = [this] {
      while (load_.in_flight() > 0) {
        static_cast<void>(loop_.run_once(1));
        load_.drain();
      }
    };
    wait();
    load_.read_back();
    const std::size_t enough = load_.completed() + StampedLoad::kSlots * StampedLoad::kBlocksOfSlot;
    while (load_.completed() < enough) {
      static_cast<void>(loop_.run_once(0));
      load_.round();
    }
    wait();
    const std::string result = fmt::format("{} completed, {} repeated, {} errors, {} mismatches, {} resets\n",
                                           load_.completed(), load_.repeated, load_.errors, load_.mismatches, resets_);
    [[maybe_unused]] const ssize_t written = ::write(spec_.serial.get(), result.data(), result.size());
    static_cast<void>(monitor_.send_powered_off());
    finished_ = true;
    ::pause();  // the monitor ends us
  }

  // FrontEnd::Listener
  void back_end_stopped() override {
    if (!begun_ || front_end_->state() != FrontEnd::State::Stopped) return;
    std::vector<QueueSetup> queues;
    for (const support::FakeQueue& queue : load_.queues())
      queues.push_back({.enabled = true,
                        .size = queue.size(),
                        .descriptors = queue.table(),
                        .driver = queue.available(),
                        .device = queue.used()});
    const std::uint64_t layout = load_.queues()[0].packed() ? support::kPackedFeature : 0;
    if (!front_end_->start(StampedLoad::kFeatures | layout, queues)) std::_Exit(95);
  }
  void back_end_config_changed() override {}
  void back_end_lost(const ipc::Error& reason, bool resumable) override {
    if (!resumable) ++resets_;
    static_cast<void>(monitor_.send_back_end_lost(0, ipc::describe(reason), !resumable));
  }
  void back_end_replaced(std::chrono::microseconds gap) override {
    static_cast<void>(monitor_.send_back_end_replaced(0, gap));
  }

  MonitorLink& monitor_;
  MachineSpec spec_;
  ipc::GuestMemory memory_;
  StampedLoad load_;
  EventLoop loop_ = *EventLoop::create();
  std::unique_ptr<FrontEnd> front_end_;
  unsigned resets_ = 0;
  bool begun_ = false;
  bool finished_ = false;
};

}  // namespace

int main() {
  MonitorLink monitor{ipc::ControlChannel(UniqueFd(3))};
  auto spec = monitor.receive_machine();
  if (!spec) return 98;
  return Driver(monitor, std::move(*spec)).run();
}
