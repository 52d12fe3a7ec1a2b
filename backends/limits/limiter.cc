#include "backends/limits/limiter.h"

#include <algorithm>

namespace limits {
namespace {

bool any(const Limits::Rates& rates) {
  return rates.read.per_second != 0 || rates.write.per_second != 0 || rates.total.per_second != 0;
}

bool any(const Limits& limits) {
  return any(limits.operations) || any(limits.bytes);
}

}  // namespace

Limiter::Limiter(const Limits& limits, std::uint64_t now_ns)
    : operations_(limits.operations, now_ns), bytes_(limits.bytes, now_ns), active_(any(limits)) {}

std::uint64_t Limiter::admit(Direction direction, std::uint64_t bytes, std::uint64_t now_ns) {
  TokenBucket& operations = direction == Direction::Read ? operations_.read : operations_.write;
  TokenBucket& moved = direction == Direction::Read ? bytes_.read : bytes_.write;
  const std::uint64_t wait = std::max(
      {operations.wait(now_ns), operations_.total.wait(now_ns), moved.wait(now_ns), bytes_.total.wait(now_ns)});
  if (wait != 0) return wait;
  operations.take(1, now_ns);
  operations_.total.take(1, now_ns);
  moved.take(bytes, now_ns);
  bytes_.total.take(bytes, now_ns);
  return 0;
}

void Limiter::set(const Limits& limits, std::uint64_t now_ns) {
  operations_.read.set(limits.operations.read, now_ns);
  operations_.write.set(limits.operations.write, now_ns);
  operations_.total.set(limits.operations.total, now_ns);
  bytes_.read.set(limits.bytes.read, now_ns);
  bytes_.write.set(limits.bytes.write, now_ns);
  bytes_.total.set(limits.bytes.total, now_ns);
  active_.store(any(limits), std::memory_order_relaxed);
}

}  // namespace limits
