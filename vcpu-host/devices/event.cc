#include "vcpu-host/devices/event.h"

#include <poll.h>

#include <cstdint>

#include "ipc/eventfd.h"

namespace vcpu_host {
namespace {

bool poll_for(const ipc::UniqueFd& event, short events) {
  pollfd poll{.fd = event.get(), .events = events, .revents = 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & events) != 0;
}

}  // namespace

void signal(const ipc::UniqueFd& event) {
  // The file's flags are shared with the peer, who could have cleared O_NONBLOCK and filled the counter.
  if (!poll_for(event, POLLOUT)) return;
  ipc::signal(event);
}

bool is_signalled(const ipc::UniqueFd& event) {
  return poll_for(event, POLLIN);
}

void drain(const ipc::UniqueFd& event) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(event.get(), &count, sizeof count);
}

}  // namespace vcpu_host
