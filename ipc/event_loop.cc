#include "ipc/event_loop.h"

#include <sys/epoll.h>

#include <array>

namespace ipc {

Result<EventLoop> EventLoop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return system_failure("make an epoll descriptor");
  return EventLoop(std::move(epoll));
}

Result<> EventLoop::watch(const UniqueFd& fd, std::function<void()> ready) {
  return add(fd, EPOLLIN, std::move(ready));
}

Result<> EventLoop::watch_end(const UniqueFd& fd, std::function<void()> ready) {
  return add(fd, EPOLLRDHUP, std::move(ready));
}

Result<> EventLoop::add(const UniqueFd& fd, std::uint32_t events, std::function<void()> ready) {
  epoll_event event{.events = events, .data = {.fd = fd.get()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return system_failure("watch a descriptor");
  callbacks_[fd.get()] = std::make_shared<std::function<void()>>(std::move(ready));
  return {};
}

void EventLoop::unwatch(const UniqueFd& fd) {
  if (callbacks_.erase(fd.get()) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
}

Result<> EventLoop::watch_for(const UniqueFd& fd, bool readable, bool writable) {
  const std::uint32_t events = (readable ? std::uint32_t{EPOLLIN} : 0) | (writable ? std::uint32_t{EPOLLOUT} : 0);
  epoll_event event{.events = events, .data = {.fd = fd.get()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd.get(), &event) != 0)
    return system_failure("change what a descriptor is watched for");
  return {};
}

Result<> EventLoop::run_once(int timeout_ms) {
  std::array<epoll_event, 16> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  if (count < 0 && errno != EINTR) return system_failure("wait for events");
  for (int i = 0; i < count; ++i) {
    const auto found = callbacks_.find(events[static_cast<std::size_t>(i)].data.fd);
    if (found == callbacks_.end()) continue;  // an earlier callback of this round unwatched it
    const auto callback = found->second;
    (*callback)();
  }
  return {};
}

Result<> EventLoop::run() {
  while (running_) TRY(run_once(-1));
  return {};
}

}  // namespace ipc
