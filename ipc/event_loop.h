// One thread that waits for descriptors and calls back: all devices of a machine, all children of a monitor.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

class EventLoop {
 public:
  static Result<EventLoop> create();

  // Readable when something that is watched is ready, so that one loop can be part of another.
  const UniqueFd& fd() const { return epoll_; }

  // Calls `ready` whenever `fd` (borrowed) is readable (level-triggered) or has hung up, until unwatch().
  Result<> watch(const UniqueFd& fd, std::function<void()> ready);
  // Calls `ready` when the peer of `fd`, a stream socket (borrowed), has ended its side, whatever is still to be read.
  Result<> watch_end(const UniqueFd& fd, std::function<void()> ready);
  void unwatch(const UniqueFd& fd);
  // Also call `ready` when `fd`, which is watched, is writable; or no more.
  Result<> watch_writable(const UniqueFd& fd, bool writable) { return watch_for(fd, true, writable); }
  // Call `ready` when `fd`, which is watched, is readable, if so asked; or writable, if so asked; or has hung up.
  Result<> watch_for(const UniqueFd& fd, bool readable, bool writable);

  // Runs until stop().
  Result<> run();
  void stop() { running_ = false; }
  // One round: waits at most `timeout_ms` (-1: for ever) and calls what is ready. For tests.
  Result<> run_once(int timeout_ms);

 private:
  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}
  Result<> add(const UniqueFd& fd, std::uint32_t events, std::function<void()> ready);
  UniqueFd epoll_;
  std::map<int, std::shared_ptr<std::function<void()>>> callbacks_;  // shared: a callback may unwatch itself
  bool running_ = true;
};

}  // namespace ipc
