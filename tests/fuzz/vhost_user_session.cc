// A hostile front end: the input is a list of messages, each {request, flags, descriptors, size, payload}, where
// descriptors is how many, and in its upper half of which kind.
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "backends/virtio/session.h"
#include "tests/support/fake_driver.h"

namespace {

// Takes every chain at once and gives it back, as the quickest of devices.
class EchoDevice final : public virtio::Device {
 public:
  std::uint64_t features() const override { return 0x245; }
  std::uint16_t queues() const override { return 2; }
  std::span<const std::byte> config() const override { return config_; }
  ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) override {
    if (offset > config_.size() || bytes.size() > config_.size() - offset) std::abort();  // the session promises it
    return {};
  }
  void accept(std::uint64_t) override {}
  ipc::Result<> start(std::uint16_t, virtio::Vring& ring) override {
    for (int i = 0; i < 64 && !ring.failed(); ++i) {
      const auto head = ring.queue().next(chain_);
      if (!head)
        ring.fail();
      else if (*head)
        ring.queue().complete((*head)->index, 0);
    }
    ring.publish();
    return {};
  }
  void stop(std::uint16_t) override {}
  std::vector<std::byte> save_state() const override { return std::vector<std::byte>(virtio::kMaxState); }
  ipc::Result<> load_state(std::span<const std::byte> state) override {
    if (state.size() > virtio::kMaxState) std::abort();  // the session promises it
    return {};
  }

 private:
  std::array<std::byte, 60> config_{};
  virtio::Chain chain_;
};

// What a front end may pass: memory, an eventfd, a pipe's two ends with a few bytes in it.
ipc::UniqueFd make_passed(unsigned kind, const support::GuestRam& ram) {
  if (kind == 1) return support::make_eventfd();
  std::array<int, 2> ends{};
  if (kind < 2 || ::pipe2(ends.data(), O_CLOEXEC) != 0)
    return ipc::UniqueFd(::fcntl(ram.fd().get(), F_DUPFD_CLOEXEC, 0));
  ipc::UniqueFd read(ends[0]);
  ipc::UniqueFd write(ends[1]);
  if (::write(write.get(), "state", 5) != 5) std::abort();
  return kind == 2 ? std::move(read) : std::move(write);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const support::GuestRam ram(1 << 20);
  static EchoDevice device;
  ::signal(SIGPIPE, SIG_IGN);  // as the program does: who asks for a state may close the pipe for it
  const std::size_t descriptors = support::open_descriptors();
  {
    auto [front_end, back_end] = support::make_stream_pair();
    ipc::vhost_user::Socket socket(std::move(back_end));
    virtio::Session session(socket, device);
    std::span<const std::uint8_t> rest(data, size);
    while (rest.size() >= 4) {
      ipc::vhost_user::Message message;
      message.request = rest[0];
      message.flags = 1u | (rest[1] & 0xcu);
      for (unsigned i = 0; i < (rest[2] & 15u) % 9u; ++i) message.fds.push_back(make_passed(rest[2] >> 4 & 3u, ram));
      const std::size_t length = std::min<std::size_t>(rest[3], rest.size() - 4);
      message.payload.resize(length);
      if (length > 0) std::memcpy(message.payload.data(), rest.data() + 4, length);
      rest = rest.subspan(4 + length);
      if (!session.handle(std::move(message))) break;
      (void)session.take_refusal();
      std::array<std::byte, 4096> replies;
      (void)::recv(front_end.get(), replies.data(), replies.size(), MSG_DONTWAIT);
    }
    session.end();
  }
  if (support::open_descriptors() != descriptors) std::abort();  // a descriptor leaked
  return 0;
}
