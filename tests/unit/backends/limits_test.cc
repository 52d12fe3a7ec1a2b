// limits::TokenBucket and limits::Limiter.
#include <array>
#include <thread>
#include <vector>

#include "backends/limits/limiter.h"
#include "tests/support/catch.h"

using limits::Direction;
using limits::Limiter;
using limits::Limits;
using limits::Rate;
using limits::TokenBucket;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kStart = 12'345 * kSecond;
constexpr std::uint64_t kHighest = ~std::uint64_t{0};

// How many requests of `tokens` are admitted until `end`, by a caller who waits as long as he is told.
std::uint64_t run(TokenBucket& bucket, std::uint64_t tokens, std::uint64_t start, std::uint64_t end) {
  std::uint64_t admitted = 0;
  for (std::uint64_t now = start; now < end;) {
    const std::uint64_t wait = bucket.wait(now);
    now += wait;
    if (wait != 0 || now >= end) continue;
    bucket.take(tokens, now);
    ++admitted;
  }
  return admitted;
}

std::uint64_t burst_of(TokenBucket& bucket, std::uint64_t now) {
  std::uint64_t admitted = 0;
  for (; bucket.wait(now) == 0 && admitted < 1'000'000; ++admitted) bucket.take(1, now);
  return admitted;
}

// Times are rounded by less than 100 ns.
bool about(std::uint64_t ns, std::uint64_t wanted) {
  return ns <= wanted && wanted - ns < 100;
}

}  // namespace

SCENARIO("limits: a burst, then the rate, for a long time without drift", "[limits]") {
  const std::uint64_t rate = GENERATE(1, 3, 7, 1'000, 33'333, 999'983);
  TokenBucket bucket({.per_second = rate, .burst = 10}, kStart);
  CHECK(burst_of(bucket, kStart) == 10);
  const std::uint64_t seconds = 200'000 / rate + 1;
  const std::uint64_t admitted = run(bucket, 1, kStart, kStart + seconds * kSecond);
  CAPTURE(rate, seconds, admitted);
  CHECK(admitted <= rate * seconds);
  // 1/64 ns of each request's time is lost at most.
  CHECK(admitted + 1 + rate * rate * seconds / 64 / kSecond >= rate * seconds);
}

SCENARIO("limits: after a pause there is a burst again, never more", "[limits]") {
  TokenBucket bucket({.per_second = 100, .burst = 7}, kStart);
  CHECK(burst_of(bucket, kStart) == 7);
  CHECK(burst_of(bucket, kStart + kSecond / 50) == 2);
  const std::uint64_t pause = GENERATE(kSecond, 3'600 * kSecond, 200'000'000 * kSecond);
  CHECK(burst_of(bucket, kStart + pause) == 7);
}

SCENARIO("limits: without a burst it is a tenth of a second's worth, and at least one", "[limits]") {
  TokenBucket fast({.per_second = 5'000}, kStart);
  CHECK(burst_of(fast, kStart) == 500);
  TokenBucket slow({.per_second = 2}, kStart);
  CHECK(burst_of(slow, kStart) == 1);
  CHECK(slow.wait(kStart) == kSecond / 2);
}

SCENARIO("limits: a request that is larger than the burst is admitted, and paid for afterwards", "[limits]") {
  TokenBucket bucket({.per_second = 1'000'000, .burst = 4'096}, kStart);
  CHECK(bucket.wait(kStart) == 0);
  bucket.take(1'000'000, kStart);
  const std::uint64_t wait = bucket.wait(kStart);
  CHECK(about(wait, kSecond - 4'095'000));
  CHECK(bucket.wait(kStart + wait - 1) == 1);
  CHECK(bucket.wait(kStart + wait) == 0);
  CHECK(run(bucket, 100'000, kStart, kStart + 100 * kSecond) <= 991);
}

SCENARIO("limits: no configuration overflows or gets stuck", "[limits]") {
  const std::uint64_t rate = GENERATE(std::uint64_t{1}, std::uint64_t{64'000'000'000}, kHighest / 64, kHighest);
  const std::uint64_t burst = GENERATE(std::uint64_t{0}, std::uint64_t{1}, kHighest / 3, kHighest);
  const std::uint64_t start = GENERATE(std::uint64_t{0}, kStart, kHighest - kSecond);
  TokenBucket bucket({rate, burst}, start);
  CHECK(bucket.wait(start) == 0);
  bucket.take(kHighest, start);
  const std::uint64_t wait = bucket.wait(start);
  CHECK(wait <= 7 * 24 * 3'600 * kSecond);
  CHECK(bucket.wait(start + wait) == 0);
}

SCENARIO("limits: a change holds from then on, and forgives a debt", "[limits]") {
  TokenBucket bucket({.per_second = 10, .burst = 5}, kStart);
  bucket.take(1'000, kStart);
  REQUIRE(bucket.wait(kStart) > 90 * kSecond);
  WHEN("it is faster") {
    bucket.set({.per_second = 1'000, .burst = 100}, kStart);
    CHECK(bucket.wait(kStart) == kSecond / 1'000);
    CHECK(run(bucket, 1, kStart, kStart + kSecond) == 999);
  }
  WHEN("it is none, and then another one") {
    bucket.set({}, kStart);
    CHECK(bucket.wait(kStart) == 0);
    bucket.take(kHighest, kStart);
    CHECK(bucket.wait(kStart) == 0);
    bucket.set({.per_second = 2, .burst = 1}, kStart + kSecond);
    CHECK(bucket.wait(kStart + kSecond) == 0);
  }
}

SCENARIO("limits: threads that share a bucket keep its rate together", "[limits]") {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kSteps = 20'000;
  TokenBucket bucket({.per_second = 1'000'000, .burst = 10}, kStart);
  std::array<std::uint64_t, kThreads> admitted{};
  std::vector<std::thread> threads;
  for (std::uint64_t& mine : admitted)
    threads.emplace_back([&] {
      for (std::uint64_t step = 0; step < kSteps; ++step)
        if (const std::uint64_t now = kStart + step * 100; bucket.wait(now) == 0) {
          bucket.take(1, now);
          ++mine;
        }
    });
  for (std::thread& thread : threads) thread.join();
  std::uint64_t total = 0;
  for (const std::uint64_t each : admitted) total += each;
  // 100 ns a step are 0.1 token. At any time each thread may have overdrawn it by one, and been told a time that
  // another is ahead of.
  CHECK(total >= kSteps / 10);
  CHECK(bucket.wait(kStart + kSteps * 100) <= kThreads * 1'000);
}

SCENARIO("limiter: each of the six limits holds alone, and costs nothing where there is none", "[limits]") {
  Limiter limiter;
  CHECK_FALSE(limiter.active());
  CHECK(limiter.admit(Direction::Read, kHighest, kStart) == 0);

  struct Case {
    Rate Limits::Rates::* rate;
    bool reads, writes;
  };
  const Case each = GENERATE(Case{&Limits::Rates::read, true, false}, Case{&Limits::Rates::write, false, true},
                             Case{&Limits::Rates::total, true, true});
  const bool bytes = GENERATE(false, true);
  Limits limits;
  Limits::Rates& rates = bytes ? limits.bytes : limits.operations;
  rates.*each.rate = {.per_second = 10, .burst = 1};
  limiter.set(limits, kStart);
  CHECK(limiter.active());
  const auto direction = each.reads ? Direction::Read : Direction::Write;
  CHECK(limiter.admit(direction, 1, kStart) == 0);
  CHECK(limiter.admit(Direction::Read, 1, kStart) == (each.reads ? kSecond / 10 : 0));
  CHECK(limiter.admit(Direction::Write, 1, kStart) == (each.writes ? kSecond / 10 : 0));
  limiter.set({}, kStart);
  CHECK_FALSE(limiter.active());
  CHECK(limiter.admit(direction, 1, kStart) == 0);
}

SCENARIO("limiter: what is refused takes nothing, and the longest wait is told", "[limits]") {
  Limits limits;
  limits.operations.total = {.per_second = 10, .burst = 1};
  limits.bytes.write = {.per_second = 1'000, .burst = 1'000};
  Limiter limiter(limits, kStart);
  CHECK(limiter.admit(Direction::Write, 3'000, kStart) == 0);
  for (int i = 0; i < 100; ++i) CHECK(about(limiter.admit(Direction::Write, 1'000, kStart), 2'001'000'000));
  CHECK(limiter.admit(Direction::Read, 1, kStart) == kSecond / 10);
  CHECK(limiter.admit(Direction::Read, 1, kStart + kSecond / 10) == 0);
  CHECK(limiter.admit(Direction::Write, 1, kStart + 2'001'000'000) == 0);
}
