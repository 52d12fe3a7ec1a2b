// Does something once, after a while, from an event loop.
#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <functional>

#include "ipc/event_loop.h"
#include "ipc/unique_fd.h"

namespace ipc {

class Timer {
 public:
  // `loop` is borrowed.
  explicit Timer(EventLoop& loop) : loop_(loop) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // In place of what was to be done. An error: nothing will be.
  Result<> after(std::chrono::milliseconds delay, std::function<void()> act) {
    cancel();
    timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    const auto ms = delay.count();
    const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000 + 1}};
    if (!timer_ || ::timerfd_settime(timer_.get(), 0, &when, nullptr) != 0) return system_failure("make a timer");
    return loop_.watch(timer_, [this, act = std::move(act)] {
      // An older descriptor of the same number may have woken us.
      std::uint64_t expirations = 0;
      if (::read(timer_.get(), &expirations, sizeof expirations) != sizeof expirations) return;
      const auto then = act;  // cancel() destroys what runs here
      cancel();
      then();
    });
  }
  bool due() const { return static_cast<bool>(timer_); }
  void cancel() {
    if (timer_) loop_.unwatch(timer_);
    timer_ = UniqueFd();
  }

 private:
  EventLoop& loop_;
  UniqueFd timer_;
};

}  // namespace ipc
