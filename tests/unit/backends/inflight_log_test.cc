// virtio::InflightLog: what a successor finds, for every instant at which its predecessor may be killed.
#include "backends/virtio/inflight_log.h"

#include <array>

#include "tests/support/catch.h"

using virtio::InflightLog;
using Heads = std::vector<std::uint16_t>;

namespace {

constexpr std::uint16_t kSize = 8;

struct Region {
  alignas(64) std::array<std::byte, 192> bytes{};
  InflightLog attach() { return InflightLog::attach(bytes, kSize).value(); }
};

}  // namespace

SCENARIO("in-flight log: what was taken and not given back is found, in its old order", "[inflight]") {
  Region region;
  InflightLog log = region.attach();
  CHECK(log.recover(100).empty());
  for (const std::uint16_t head : {5, 2, 7}) log.take(head);
  CHECK(region.attach().recover(100) == Heads{5, 2, 7});
  WHEN("one is in the used ring, but not shown") {
    log.complete(2);
    CHECK(region.attach().recover(100) == Heads{5, 2, 7});
  }
  WHEN("it was shown, but not noted") {
    log.complete(2);
    CHECK(region.attach().recover(101) == Heads{5, 7});
    CHECK(region.attach().recover(101) == Heads{5, 7});
  }
  WHEN("two were shown in one batch, but not noted") {
    log.complete(2);
    log.complete(5);
    CHECK(region.attach().recover(102) == Heads{7});
  }
  WHEN("it was shown and noted") {
    log.complete(2);
    log.publish(101);
    CHECK(region.attach().recover(101) == Heads{5, 7});
    THEN("a successor's own come behind them") {
      InflightLog next = region.attach();
      (void)next.recover(101);
      next.take(0);
      CHECK(region.attach().recover(101) == Heads{5, 7, 0});
    }
  }
}

SCENARIO("in-flight log: the used index wraps", "[inflight]") {
  Region region;
  InflightLog log = region.attach();
  CHECK(log.recover(0xffff).empty());
  log.take(1);
  log.take(3);
  log.complete(1);
  log.complete(3);
  CHECK(region.attach().recover(1).empty());
}

SCENARIO("in-flight log: a hostile region is refused, or harmless", "[inflight]") {
  Region region;
  GIVEN("one that is too small") {
    CHECK_FALSE(InflightLog::attach(std::span(region.bytes).first(100), kSize));
  }
  GIVEN("one that is misaligned") {
    CHECK_FALSE(InflightLog::attach(std::span(region.bytes).subspan(4, 188), kSize));
  }
  GIVEN("one of another version") {
    region.bytes[8] = std::byte{2};
    CHECK_FALSE(InflightLog::attach(region.bytes, kSize));
  }
  GIVEN("one for another number of descriptors") {
    (void)region.attach();
    CHECK_FALSE(InflightLog::attach(region.bytes, 4));
  }
  GIVEN("one of ones") {
    (void)region.attach();
    for (std::size_t i = 12; i < region.bytes.size(); ++i) region.bytes[i] = std::byte{0xff};
    CHECK(region.attach().recover(3) == Heads{0, 1, 2, 3, 4, 5, 6, 7});
  }
}
