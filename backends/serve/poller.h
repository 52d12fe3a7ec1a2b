// How long to look for work before sleeping: as long as that would lately have been shorter than sleeping was.
#pragma once

#include <algorithm>
#include <cstdint>

namespace serve {

enum class Poll : std::uint8_t {
  Off,       // sleep as soon as there is nothing to do
  Adaptive,  // look for a while first, if that has paid lately
  Busy,      // never sleep
};

// Times are nanoseconds of one clock.
class Poller {
 public:
  Poller(Poll mode, std::uint64_t limit) : mode_(mode), limit_(limit) {}

  // Rings are to be looked at without being told of news.
  bool looks() const { return mode_ != Poll::Off; }
  void found_work(std::uint64_t now) { idle_since_ = now; }
  // Nothing is there: go on looking?
  bool goes_on(std::uint64_t now) const {
    return mode_ == Poll::Busy || (mode_ == Poll::Adaptive && now - idle_since_ < window_);
  }
  // A sleep that began at `since` ended with work. One that a longer look would have saved makes the look
  // longer; one that no look could save makes it shorter.
  void slept(std::uint64_t since, std::uint64_t now) {
    if (mode_ != Poll::Adaptive) return;
    const std::uint64_t waited = now - since;
    if (waited < limit_)
      window_ = std::clamp(2 * window_, kFirstWindow, limit_);
    else
      window_ /= 2;
    idle_since_ = now;
  }

 private:
  static constexpr std::uint64_t kFirstWindow = 4'000;
  Poll mode_;
  std::uint64_t limit_;
  std::uint64_t window_ = 0;
  std::uint64_t idle_since_ = 0;
};

}  // namespace serve
