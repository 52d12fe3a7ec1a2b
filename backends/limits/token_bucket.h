// A rate with bursts: so many tokens a second, and at most so many at once after a pause.
#pragma once

#include <atomic>
#include <cstdint>

namespace limits {

// Tokens are operations or bytes.
struct Rate {
  std::uint64_t per_second = 0;  // 0: no limit
  std::uint64_t burst = 0;       // 0: a tenth of a second's worth, at least 1
  friend bool operator==(const Rate&, const Rate&) = default;
};

// Any thread may call anything at any time; nothing locks, allocates or waits. Times are nanoseconds of one
// clock that never goes back.
//
// It is virtual scheduling (ITU-T I.371, GCRA): `full_at_` is when the bucket will be full again if nothing more
// is taken. Taking tokens moves it by the time that they take to come, so nothing has to be refilled, and one
// atomic number is the whole state.
//
// Whoever finds a whole token is admitted, whatever it needs: what is missing becomes a debt that the next ones
// wait for. So no request is too large, and large ones do not starve beside small ones. (No request costs more
// than six days, no burst is larger than 200 days' worth.)
class TokenBucket {
 public:
  // Full at `now_ns`.
  TokenBucket(const Rate& rate, std::uint64_t now_ns);

  // Changes the rate. Who waits goes on waiting for as long, but never longer than the new burst takes to come.
  void set(const Rate& rate, std::uint64_t now_ns);

  bool limited() const { return per_second_.load(std::memory_order_relaxed) != 0; }

  // 0: a token is there. Otherwise for how many nanoseconds there is none if nobody takes one meanwhile.
  std::uint64_t wait(std::uint64_t now_ns) const;

  // Takes `tokens`, into debt where there are not so many. Threads that found the same token all take theirs:
  // each may exceed the burst by one request, and the debt keeps the rate.
  void take(std::uint64_t tokens, std::uint64_t now_ns);

 private:
  // Times are counted in units of 1/64 ns, modulo 2^64; what a request costs is rounded up to one, so the
  // rate is never exceeded.
  std::atomic<std::uint64_t> per_second_{0};  // 0: no limit
  std::atomic<std::uint64_t> burst_{0};       // units that a whole burst takes to come
  std::atomic<std::uint64_t> token_{0};       // the same for one token
  std::atomic<std::uint64_t> full_at_{0};
};

}  // namespace limits
