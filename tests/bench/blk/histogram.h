// Latencies in nanoseconds, counted in steps of at most 1/64 of their size: finer than what telemetry keeps, and not
// the code that is measured.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace bench {

class Histogram {
 public:
  void add(std::uint64_t value) {
    ++counts_[index_of(value)];
    ++total_;
    sum_ += value;
  }
  std::uint64_t total() const { return total_; }
  double mean() const { return total_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(total_); }

  // The smallest step that `fraction` of all values, 0 to 1, do not exceed; 0 if there is none.
  std::uint64_t quantile(double fraction) const {
    const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(total_));
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      below += counts_[i];
      if (below > rank || (below == total_ && total_ > 0)) return value_of(i);
    }
    return 0;
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr std::size_t kSteps = std::size_t{1} << kStepBits;

  // Values below kSteps count exactly; above, the highest bit and the kStepBits after it tell the place.
  static std::size_t index_of(std::uint64_t value) {
    if (value < kSteps) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepBits;
    return (std::size_t{shift} + 1) * kSteps + ((value >> shift) - kSteps);
  }
  static std::uint64_t value_of(std::size_t index) {
    if (index < kSteps) return index;
    return (index % kSteps + kSteps) << (index / kSteps - 1);
  }

  std::array<std::uint64_t, kSteps * (64 - kStepBits + 1)> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t sum_ = 0;
};

}  // namespace bench
