// How long a guest waited for back ends to be replaced.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "ipc/error.h"

namespace monitor {

class Gaps {
 public:
  using Duration = std::chrono::microseconds;

  void add(Duration gap) {
    ++times_;
    // A guest may bring any number about: of more than these the last are told of.
    if (last_.size() < kMost)
      last_.push_back(gap);
    else
      last_[times_ % kMost] = gap;
  }
  unsigned times() const { return times_; }

  // "replaced 200 times; the guest waited 8.1 ms (half of them at most), 19.0 ms (99 of 100), 22.4 ms (all)".
  std::string describe() const {
    std::vector<Duration> sorted = last_;
    std::ranges::sort(sorted);
    const auto at_most = [&](std::size_t percent) {
      const std::size_t rank = (sorted.size() * percent + 99) / 100;
      return sorted.empty() ? 0.0 : static_cast<double>(sorted[std::max<std::size_t>(rank, 1) - 1].count()) / 1000;
    };
    return fmt::format(
        "replaced {} times; the guest waited {:.1f} ms (half of them at most), {:.1f} ms (99 of 100), {:.1f} ms (all)",
        times_, at_most(50), at_most(99), at_most(100));
  }

 private:
  static constexpr std::size_t kMost = 4096;
  std::vector<Duration> last_;
  unsigned times_ = 0;
};

}  // namespace monitor
