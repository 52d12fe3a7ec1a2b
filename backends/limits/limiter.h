// What one device may do: operations and bytes a second, of reading, of writing and of both together.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "backends/limits/token_bucket.h"

namespace limits {

// Of a network device: Read is what the guest receives, Write what it sends.
enum class Direction : std::uint8_t { Read, Write };

struct Limits {
  struct Rates {
    Rate read, write, total;  // all that are set hold together
    friend bool operator==(const Rates&, const Rates&) = default;
  };
  Rates operations, bytes;
  friend bool operator==(const Limits&, const Limits&) = default;
};

// One for each device, shared by all threads that serve it: any of them may call anything at any time, nothing
// locks or waits. `now_ns` is of one monotonic clock.
class Limiter {
 public:
  Limiter() : Limiter(Limits{}, 0) {}
  Limiter(const Limits& limits, std::uint64_t now_ns);

  // Is there any limit? Without one, admit() admits all: the hot path needs ask no more than this.
  bool active() const { return active_.load(std::memory_order_relaxed); }

  // 0: one operation that moves `bytes` may begin now, and has been accounted for. Otherwise it may not, and
  // nothing was taken: ask again in so many nanoseconds (or earlier, if the limits change). What a request
  // lacks in tokens is a debt (token_bucket.h): one that is larger than the burst is admitted too.
  std::uint64_t admit(Direction direction, std::uint64_t bytes, std::uint64_t now_ns);

  void set(const Limits& limits, std::uint64_t now_ns);

 private:
  struct Buckets {
    explicit Buckets(const Limits::Rates& rates, std::uint64_t now_ns)
        : read(rates.read, now_ns), write(rates.write, now_ns), total(rates.total, now_ns) {}
    TokenBucket read, write, total;
  };

  Buckets operations_;
  Buckets bytes_;
  std::atomic<bool> active_;
};

}  // namespace limits
