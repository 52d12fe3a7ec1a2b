// Does something again after a while.
#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <functional>

#include "ipc/event_loop.h"
#include "ipc/unique_fd.h"

namespace monitor {

class Retry {
 public:
  // `loop` is borrowed.
  explicit Retry(ipc::EventLoop& loop) : loop_(loop) {}
  ~Retry() { cancel(); }
  Retry(const Retry&) = delete;
  Retry& operator=(const Retry&) = delete;

  // In place of what was to be done. An error: nothing will be.
  ipc::Result<> after(std::chrono::milliseconds delay, std::function<void()> act) {
    cancel();
    timer_ = ipc::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    const auto ms = delay.count();
    const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000 + 1}};
    if (!timer_ || ::timerfd_settime(timer_.get(), 0, &when, nullptr) != 0) return ipc::system_failure("make a timer");
    return loop_.watch(timer_, [this, act = std::move(act)] {
      const auto then = act;  // cancel() destroys what runs here
      cancel();
      then();
    });
  }
  bool due() const { return static_cast<bool>(timer_); }
  void cancel() {
    if (timer_) loop_.unwatch(timer_);
    timer_ = ipc::UniqueFd();
  }

 private:
  ipc::EventLoop& loop_;
  ipc::UniqueFd timer_;
};

}  // namespace monitor
