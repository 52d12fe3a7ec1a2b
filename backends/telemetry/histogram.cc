#include "backends/telemetry/histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace telemetry {

static_assert(bucket_of(0) == 0 && bucket_of(1023) == 15 && bucket_of(1024) == 16 && bucket_of(2047) == 31);
static_assert(bucket_start(bucket_of(std::uint64_t{100} << 30)) <= std::uint64_t{100} << 30);
static_assert(bucket_start(kBuckets - 1) > 100'000'000'000 && bucket_of(~std::uint64_t{0}) == kBuckets - 1);

std::uint64_t total_of(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

std::uint64_t percentile(const Counts& counts, double fraction) {
  const std::uint64_t total = total_of(counts);
  if (total == 0) return 0;
  const double rank = std::ceil(fraction * static_cast<double>(total));
  const std::uint64_t wanted = rank < static_cast<double>(total) ? static_cast<std::uint64_t>(rank) : total;
  std::uint64_t seen = 0;
  std::size_t bucket = 0;
  while (bucket + 1 < kBuckets && (seen += counts[bucket]) < std::max<std::uint64_t>(wanted, 1)) ++bucket;
  return bucket_start(bucket) + (bucket_start(bucket + 1) - bucket_start(bucket)) / 2;
}

}  // namespace telemetry
