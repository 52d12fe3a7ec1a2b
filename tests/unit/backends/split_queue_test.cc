// virtio::SplitQueue (virtio 1.2, 2.7) without a device behind it.
#include "backends/virtio/split_queue.h"

#include <thread>

#include "tests/unit/backends/queue_fixture.h"

using support::Descriptor;
using support::kNext;
using support::kWrite;
using virtio::ChainError;
using virtio::RingError;

namespace {

using Fixture = support::QueueFixture<virtio::SplitQueue, support::Layout::Split>;

}  // namespace

SCENARIO("queue: a chain comes out with readable buffers first", "[queue][virtio-2.7.4.2]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(100);
  fixture.driver.offer(
      fixture.driver.link(std::vector<Descriptor>{{buffer, 16}, {buffer + 16, 4}, {buffer, 8, kWrite}}));
  const auto head = fixture.queue->next(fixture.chain);
  REQUIRE(head);
  REQUIRE(*head);
  REQUIRE((*head)->chain);
  CHECK(fixture.chain.readable().size() == 2);
  CHECK(fixture.chain.readable_bytes() == 20);
  CHECK(fixture.chain.writable_bytes() == 8);
  CHECK(fixture.queue->in_flight() == 1);
  fixture.queue->complete((*head)->index, 8);
  CHECK(fixture.queue->publish());
  CHECK(fixture.queue->in_flight() == 0);
  CHECK_FALSE(fixture.queue->publish());  // nothing new: no second interrupt
}

SCENARIO("queue: why a chain is refused", "[queue][virtio-2.7.5]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(16);
  ChainError expected{};
  GIVEN("a loop") {
    fixture.driver.put(0, {buffer, 16, kNext, 0});
    expected = ChainError::TooLong;
  }
  GIVEN("an index one past the table") {
    fixture.driver.put(0, {buffer, 16, kNext, 8});
    expected = ChainError::BadIndex;
  }
  GIVEN("a buffer one byte too long") {
    fixture.driver.put(0, {fixture.ram.end() - 16, 17});
    expected = ChainError::BadAddress;
  }
  GIVEN("an empty buffer") {
    fixture.driver.put(0, {buffer, 0});
    expected = ChainError::EmptyBuffer;
  }
  GIVEN("readable behind writable") {
    fixture.driver.put(0, {buffer, 16, kWrite | kNext, 1});
    fixture.driver.put(1, {buffer, 16});
    expected = ChainError::BadOrder;
  }
  GIVEN("an indirect table that was not negotiated") {
    fixture.driver.put(0, {buffer, 16, support::kIndirect});
    expected = ChainError::BadIndirect;
  }
  fixture.driver.offer(0);
  const auto head = fixture.queue->next(fixture.chain);
  REQUIRE(head);
  REQUIRE(*head);
  REQUIRE_FALSE((*head)->chain);
  CHECK((*head)->chain.error() == expected);
}

SCENARIO("queue: a chain may be exactly as long as the queue", "[queue][virtio-2.7.5.2]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(16);
  fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(8, {buffer, 2})));
  const auto head = fixture.queue->next(fixture.chain);
  REQUIRE(head);
  REQUIRE(*head);
  CHECK((*head)->chain);
  CHECK(fixture.chain.readable().size() == 8);
}

SCENARIO("queue: why a ring ends", "[queue][virtio-2.7.6]") {
  Fixture fixture;
  RingError expected{};
  GIVEN("an available index one beyond the size") {
    fixture.driver.set_available_index(9);
    expected = RingError::BadAvailableIndex;
  }
  GIVEN("a head one beyond the table") {
    fixture.driver.offer(8);
    expected = RingError::BadHead;
  }
  const auto head = fixture.queue->next(fixture.chain);
  REQUIRE_FALSE(head);
  CHECK(head.error() == expected);
}

SCENARIO("queue: a head in flight is not taken twice, and may come again afterwards", "[queue][virtio-2.7.13]") {
  Fixture fixture;
  fixture.driver.put(0, {fixture.ram.allocate(16), 16});
  fixture.driver.offer(0);
  REQUIRE(fixture.queue->next(fixture.chain));
  fixture.driver.offer(0);
  SECTION("before it was given back") {
    const auto again = fixture.queue->next(fixture.chain);
    REQUIRE_FALSE(again);
    CHECK(again.error() == RingError::HeadInFlight);
  }
  SECTION("afterwards") {
    fixture.queue->complete(0, 0);
    const auto again = fixture.queue->next(fixture.chain);
    REQUIRE(again);
    CHECK(*again);
  }
}

SCENARIO("queue: kicks are suppressed while the device looks", "[queue][virtio-2.7.7]") {
  const bool event_idx = GENERATE(false, true);
  Fixture fixture({.indirect = false, .event_idx = event_idx});
  fixture.driver.put(0, {fixture.ram.allocate(16), 16});
  CHECK_FALSE(fixture.queue->request_kicks());
  fixture.driver.offer(0);
  CHECK(fixture.driver.wants_kick(event_idx));
  fixture.queue->suppress_kicks();
  REQUIRE(fixture.queue->next(fixture.chain));
  fixture.queue->complete(0, 0);
  fixture.driver.offer(0);
  CHECK_FALSE(fixture.driver.wants_kick(event_idx));
  CHECK(fixture.queue->request_kicks());  // there is one already
}

SCENARIO("queue: a driver that rewrites descriptors during parsing gains nothing", "[queue][double-fetch]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(64);
  std::atomic<bool> stop = false;
  std::thread driver([&] {
    auto& length = fixture.ram.object<std::uint32_t>(fixture.driver.table() + 8);
    auto& flags = fixture.ram.object<std::uint16_t>(fixture.driver.table() + 12);
    for (std::uint32_t i = 0; !stop; ++i) {
      std::atomic_ref(length).store(i % 2 == 0 ? 16 : 0xffffffff, std::memory_order_relaxed);
      std::atomic_ref(flags).store(static_cast<std::uint16_t>(i % 8), std::memory_order_relaxed);
    }
  });
  fixture.driver.put(0, {buffer, 16});
  std::size_t wrong = 0;
  for (int i = 0; i < 20'000; ++i) {
    fixture.driver.offer(0);
    const auto head = fixture.queue->next(fixture.chain);
    if (!head || !*head) break;
    if ((*head)->chain && fixture.chain.readable_bytes() + fixture.chain.writable_bytes() > 16 * 8) ++wrong;
    fixture.queue->complete(0, 0);
  }
  stop = true;
  driver.join();
  CHECK(wrong == 0);
}

SCENARIO("queue: sizes and places of rings", "[queue][virtio-2.7]") {
  Fixture fixture;
  for (const std::uint16_t size : {0, 3, 2048, 0xffff})
    CHECK_FALSE(virtio::SplitQueue::create(fixture.table.memory(), size, fixture.addresses(), {}, 0));
  auto addresses = fixture.addresses();
  SECTION("table misaligned") {
    addresses.descriptors.value += 8;
  }
  SECTION("table over the end") {
    addresses.descriptors.value = fixture.ram.end() - 112;
  }
  SECTION("available ring misaligned") {
    addresses.available.value += 1;
  }
  SECTION("used ring misaligned") {
    addresses.used.value += 2;
  }
  SECTION("used ring at the last address") {
    addresses.used.value = ~std::uint64_t{0} - 3;
  }
  CHECK_FALSE(virtio::SplitQueue::create(fixture.table.memory(), 8, addresses, {}, 0));
}
