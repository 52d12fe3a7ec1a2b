// The one thread that runs every device of the machine: it waits for descriptors and calls back.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace vcpu_host {

class EventLoop {
 public:
  static ipc::Result<EventLoop> create();

  // Calls `ready` whenever `fd` (borrowed) is readable (level-triggered) or has hung up, until unwatch().
  ipc::Result<> watch(const ipc::UniqueFd& fd, std::function<void()> ready);
  void unwatch(const ipc::UniqueFd& fd);
  // Also call `ready` when `fd`, which is watched, is writable; or no more.
  ipc::Result<> watch_writable(const ipc::UniqueFd& fd, bool writable) { return watch_for(fd, true, writable); }
  // Call `ready` when `fd`, which is watched, is readable, if so asked; or writable, if so asked; or has hung up.
  ipc::Result<> watch_for(const ipc::UniqueFd& fd, bool readable, bool writable);

  // Runs until stop().
  ipc::Result<> run();
  void stop() { running_ = false; }
  // One round: waits at most `timeout_ms` (-1: for ever) and calls what is ready. For tests.
  ipc::Result<> run_once(int timeout_ms);

 private:
  explicit EventLoop(ipc::UniqueFd epoll) : epoll_(std::move(epoll)) {}
  ipc::UniqueFd epoll_;
  std::map<int, std::shared_ptr<std::function<void()>>> callbacks_;  // shared: a callback may unwatch itself
  bool running_ = true;
};

}  // namespace vcpu_host
