// How long things took, as counts in buckets: a sixteenth of a power of two each, so that a percentile that is
// read from them is within 6.25 % (half of it, at a bucket's middle).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace telemetry {

// Bucket 0 begins at 0; the first 16 are 64 ns wide each; from 1024 ns on there are 16 for each power of two.
// The last begins at 132 s and holds all that took longer.
inline constexpr std::size_t kBuckets = 448;

constexpr std::size_t bucket_of(std::uint64_t ns) {
  const std::uint64_t units = ns >> 6;
  if (units < 16) return units;
  const auto octave = static_cast<unsigned>(std::bit_width(units)) - 5;  // 0 for 16 to 31
  const std::size_t bucket = (std::size_t{octave} << 4) + (units >> octave);
  return bucket < kBuckets ? bucket : kBuckets - 1;
}

// The least latency in ns that belongs into `bucket`, which may be kBuckets: where the last but one would end.
constexpr std::uint64_t bucket_start(std::size_t bucket) {
  if (bucket < 16) return bucket << 6;
  const std::size_t octave = (bucket >> 4) - 1;
  return (16 + (bucket & 15)) << octave << 6;
}

using Counts = std::array<std::uint64_t, kBuckets>;

std::uint64_t total_of(const Counts& counts);

// The latency in ns that `fraction` (0 to 1) of all do not exceed, as the middle of its bucket; 0 without any.
std::uint64_t percentile(const Counts& counts, double fraction);

}  // namespace telemetry
