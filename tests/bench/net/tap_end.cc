#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <vector>

#include "ipc/tap.h"
#include "tests/bench/net/end.h"

namespace bench {
namespace {

class TapEnd final : public End {
 public:
  explicit TapEnd(ipc::UniqueFd tap) : tap_(std::move(tap)), room_(kFrameBytes) {}

  std::optional<std::span<std::byte>> room() override { return room_; }
  std::span<const iovec> receive(std::span<std::byte> room) override {
    const ssize_t got = ::read(tap_.get(), room.data(), room.size());
    if (got <= 0) return {};
    frame_ = {room.data(), static_cast<std::size_t>(got)};
    return std::span(&frame_, 1);
  }
  // What it refuses is lost, as on any network.
  void send(std::span<const iovec> frame) override {
    [[maybe_unused]] const ssize_t sent = ::writev(tap_.get(), frame.data(), static_cast<int>(frame.size()));
  }
  pollfd has_frames() const override { return {.fd = tap_.get(), .events = POLLIN, .revents = 0}; }
  pollfd has_room() const override { return {.fd = tap_.get(), .events = POLLOUT, .revents = 0}; }

 private:
  const ipc::UniqueFd tap_;
  std::vector<std::byte> room_;
  iovec frame_{};
};

}  // namespace

std::unique_ptr<End> open_tap_end(const std::string& name, bool offloads) {
  auto tap = ipc::open_tap(name, 1);
  if (!tap) throw Failure(ipc::describe(tap.error()));
  const unsigned flags = offloads ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
  if (::ioctl(tap->queues.front().get(), TUNSETOFFLOAD, flags) != 0) throw Failure(name + ": no offloads");
  return std::make_unique<TapEnd>(std::move(tap->queues.front()));
}

}  // namespace bench
