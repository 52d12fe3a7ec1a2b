#include "backends/limits/token_bucket.h"

#include <algorithm>

namespace limits {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kUnitsPerNs = 64;
constexpr std::uint64_t kUnitsPerSecond = kUnitsPerNs * 1'000'000'000;

// Of 64 threads that overdraw a bucket at once, all together stay below kMostMissing.
constexpr std::uint64_t kMostCost = std::uint64_t{1} << 55;
constexpr std::uint64_t kMostBurst = std::uint64_t{1} << 60;
constexpr std::uint64_t kMostMissing = std::uint64_t{1} << 62;

// How long `tokens` take to come, rounded up, at most `most`.
std::uint64_t units_for(std::uint64_t tokens, std::uint64_t per_second, std::uint64_t most) {
  if (per_second == 0) return 0;
  std::uint64_t product = 0;
  if (!__builtin_mul_overflow(tokens, kUnitsPerSecond, &product))
    return std::min(product / per_second + (product % per_second != 0), most);
  const auto wide = static_cast<Wide>(tokens) * kUnitsPerSecond;
  const Wide units = wide / per_second + (wide % per_second != 0);
  return units > most ? most : static_cast<std::uint64_t>(units);
}

// From `now` until `full_at`, both modulo 2^64. Farther ahead than any debt: it has long been full.
std::uint64_t missing(std::uint64_t full_at, std::uint64_t now) {
  const std::uint64_t ahead = full_at - now;
  return ahead > kMostMissing ? 0 : ahead;
}

std::uint64_t units(std::uint64_t ns) {
  return ns * kUnitsPerNs;  // modulo 2^64
}

}  // namespace

TokenBucket::TokenBucket(const Rate& rate, std::uint64_t now_ns) : full_at_(units(now_ns)) {
  set(rate, now_ns);
}

void TokenBucket::set(const Rate& rate, std::uint64_t now_ns) {
  const std::uint64_t tenth = std::max<std::uint64_t>(rate.per_second / 10, 1);
  const std::uint64_t tokens = rate.burst == 0 ? tenth : rate.burst;
  const std::uint64_t token = units_for(1, rate.per_second, kMostCost);
  // Each token of a burst may cost a unit more than it should: that must not make the burst a token smaller.
  const std::uint64_t slack = token == 0 ? 0 : std::min(tokens, token - 1);
  const std::uint64_t burst = std::min(units_for(tokens, rate.per_second, kMostBurst) + slack, kMostBurst);
  token_.store(token, std::memory_order_relaxed);
  burst_.store(burst, std::memory_order_relaxed);
  per_second_.store(rate.per_second, std::memory_order_relaxed);
  const std::uint64_t now = units(now_ns);
  std::uint64_t full_at = full_at_.load(std::memory_order_relaxed);
  while (!full_at_.compare_exchange_weak(full_at, now + std::min(missing(full_at, now), burst),
                                         std::memory_order_relaxed)) {
  }
}

std::uint64_t TokenBucket::wait(std::uint64_t now_ns) const {
  if (!limited()) return 0;
  const std::uint64_t needed =
      missing(full_at_.load(std::memory_order_relaxed), units(now_ns)) + token_.load(std::memory_order_relaxed);
  const std::uint64_t burst = burst_.load(std::memory_order_relaxed);
  return needed <= burst ? 0 : (needed - burst + kUnitsPerNs - 1) / kUnitsPerNs;
}

void TokenBucket::take(std::uint64_t tokens, std::uint64_t now_ns) {
  if (!limited()) return;
  const std::uint64_t cost = units_for(tokens, per_second_.load(std::memory_order_relaxed), kMostCost);
  const std::uint64_t now = units(now_ns);
  std::uint64_t full_at = full_at_.load(std::memory_order_relaxed);
  while (!full_at_.compare_exchange_weak(full_at, now + missing(full_at, now) + cost, std::memory_order_relaxed)) {
  }
}

}  // namespace limits
