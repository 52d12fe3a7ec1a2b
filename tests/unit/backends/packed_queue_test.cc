// virtio::PackedQueue (virtio 1.2, 2.8) without a device behind it.
#include "backends/virtio/packed_queue.h"

#include <thread>

#include "tests/unit/backends/queue_fixture.h"

using support::Descriptor;
using support::kNext;
using support::kWrite;
using virtio::ChainError;
using virtio::RingError;

namespace {

constexpr std::uint32_t kFresh = 0x8000'8000;

using Fixture = support::QueueFixture<virtio::PackedQueue, support::Layout::Packed>;

}  // namespace

SCENARIO("packed queue: a chain comes out with readable buffers first", "[queue][virtio-2.8.5]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(100);
  fixture.driver.offer(
      fixture.driver.link(std::vector<Descriptor>{{buffer, 16}, {buffer + 16, 4}, {buffer, 8, kWrite}}));
  const auto head = fixture.take();
  REQUIRE(head);
  CHECK(fixture.chain.readable().size() == 2);
  CHECK(fixture.chain.readable_bytes() == 20);
  CHECK(fixture.chain.writable_bytes() == 8);
  CHECK(fixture.queue->in_flight() == 1);
  CHECK(fixture.queue->position() == 0x8000'8003);
  fixture.queue->complete(*head, 8);
  CHECK(fixture.queue->publish());
  CHECK(fixture.queue->in_flight() == 0);
  CHECK(fixture.queue->position() == 0x8003'8003);
  CHECK_FALSE(fixture.queue->publish());  // nothing new: no second interrupt
}

SCENARIO("packed queue: used descriptors come in the order of completion, a batch at once", "[queue][virtio-2.8.6]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(16);
  for (std::uint16_t i = 0; i < 3; ++i)
    fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(i % 2 + 1u, {buffer, 16, kWrite})));
  const auto first = fixture.take();
  const auto second = fixture.take();
  const auto third = fixture.take();
  REQUIRE((first && second && third));
  fixture.queue->complete(*third, 3);
  fixture.queue->complete(*second, 2);
  constexpr std::chrono::milliseconds kNow{0};
  CHECK_FALSE(fixture.driver.wait_used(kNow));
  CHECK(fixture.queue->publish());
  const auto one = fixture.driver.wait_used(kNow);
  const auto two = fixture.driver.wait_used(kNow);
  REQUIRE((one && two));
  CHECK((one->id == 2 && one->length == 3));
  CHECK((two->id == 1 && two->length == 2));
  CHECK_FALSE(fixture.driver.wait_used(kNow));
}

SCENARIO("packed queue: a full ring, and no more", "[queue][virtio-2.8.20]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(16);
  for (int lap = 0; lap < 5; ++lap) {
    std::vector<std::uint16_t> heads;
    for (int i = 0; i < 8; ++i) {
      fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>{{buffer, 2}}));
      const auto head = fixture.take();
      REQUIRE(head);
      heads.push_back(*head);
    }
    CHECK_FALSE(fixture.take());
    // A driver that makes what is in flight available again gets nothing by it.
    fixture.driver.offer(0);
    CHECK_FALSE(fixture.take());
    CHECK(fixture.queue->in_flight() == 8);
    for (const std::uint16_t head : heads) fixture.queue->complete(head, 0);
    CHECK(fixture.queue->publish());
    fixture.driver.start_at(0, lap % 2 != 0);
  }
}

SCENARIO("packed queue: why a chain or the ring ends", "[queue][virtio-2.8.5]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(16);
  GIVEN("a chain of exactly the ring's size") {
    fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(8, {buffer, 2})));
    CHECK(fixture.take());
    CHECK(fixture.chain.readable().size() == 8);
  }
  GIVEN("a chain without an end") {
    fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(8, {buffer, 2, kNext})));
    const auto head = fixture.queue->next(fixture.chain);
    REQUIRE_FALSE(head);
    CHECK(head.error() == RingError::BadAvailableIndex);
  }
  GIVEN("a chain that runs into one in flight") {
    fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(6, {buffer, 2})));
    REQUIRE(fixture.take());
    fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>(2, {buffer, 2, kNext})));
    const auto head = fixture.queue->next(fixture.chain);
    REQUIRE_FALSE(head);
    CHECK(head.error() == RingError::BadAvailableIndex);
  }
  GIVEN("an indirect table that was not negotiated") {
    fixture.driver.offer(fixture.driver.link_indirect(std::vector<Descriptor>{{buffer, 16}}));
    const auto head = fixture.queue->next(fixture.chain);
    REQUIRE(head);
    REQUIRE(*head);
    REQUIRE_FALSE((*head)->chain);
    CHECK((*head)->chain.error() == ChainError::BadIndirect);
  }
}

SCENARIO("packed queue: kicks are suppressed while the device looks", "[queue][virtio-2.8.14]") {
  const bool event_idx = GENERATE(false, true);
  Fixture fixture({.indirect = false, .event_idx = event_idx});
  const std::uint64_t buffer = fixture.ram.allocate(16);
  const auto offer = [&] { fixture.driver.offer(fixture.driver.link(std::vector<Descriptor>{{buffer, 16}})); };
  CHECK_FALSE(fixture.queue->request_kicks());
  for (int i = 0; i < 20; ++i) {  // over the end of the ring
    offer();
    CHECK(fixture.driver.wants_kick(event_idx));
    fixture.queue->suppress_kicks();
    offer();
    CHECK_FALSE(fixture.driver.wants_kick(event_idx));
    for (int n = 0; n < 2; ++n) {
      CHECK(fixture.queue->request_kicks());  // there is one already
      const auto head = fixture.take();
      REQUIRE(head);
      fixture.queue->complete(*head, 0);
      fixture.queue->publish();
      REQUIRE(fixture.driver.wait_used());
    }
    CHECK_FALSE(fixture.queue->request_kicks());
  }
}

SCENARIO("packed queue: a driver that rewrites descriptors during parsing gains nothing", "[queue][double-fetch]") {
  Fixture fixture;
  const std::uint64_t buffer = fixture.ram.allocate(64);
  std::atomic<bool> stop = false;
  std::thread driver([&] {
    for (std::uint32_t i = 0; !stop; ++i) {
      const std::uint64_t place = fixture.driver.table() + 16 * (i % 8);
      std::atomic_ref(fixture.ram.object<std::uint32_t>(place + 8)).store(i % 3 == 0 ? 0xffffffff : 16);
      std::atomic_ref(fixture.ram.object<std::uint16_t>(place + 14))
          .store(static_cast<std::uint16_t>((i % 8) | (i % 5 < 3 ? 0x80 : 0x8000)));
      std::atomic_ref(fixture.ram.object<std::uint64_t>(place)).store(buffer);
    }
  });
  std::size_t wrong = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto head = fixture.queue->next(fixture.chain);
    if (!head)
      fixture.queue = virtio::PackedQueue::create(fixture.table.memory(), 8, fixture.addresses(), {}, kFresh).value();
    if (!head || !*head) continue;
    if ((*head)->chain && fixture.chain.readable_bytes() + fixture.chain.writable_bytes() > 16 * 8) ++wrong;
    fixture.queue->complete((*head)->index, 0);
    (void)fixture.queue->publish();
  }
  stop = true;
  driver.join();
  CHECK(wrong == 0);
}

SCENARIO("packed in-flight log: a hostile region is refused", "[inflight]") {
  constexpr std::uint16_t kSize = 8;
  alignas(64) std::array<virtio::PackedDescriptor, kSize> ring{};
  alignas(64) std::array<std::byte, 320> region{};
  REQUIRE(virtio::packed_inflight_bytes(kSize) == region.size());
  const auto attach = [&] { return virtio::PackedInflightLog::attach(region, ring); };
  const auto recover = [&] {
    auto log = attach();
    return log && log->recover({}).has_value();
  };
  {
    auto log = attach().value();
    REQUIRE(log.recover({}));
    const std::array<virtio::PackedDescriptor, 2> parts{};
    (void)log.take(parts);
    (void)log.take(parts);
  }
  const auto entry = [&](std::size_t i, std::size_t offset) -> std::byte& { return region[32 + 32 * i + offset]; };
  REQUIRE(recover());
  // One that is too small, misaligned, of another size.
  CHECK_FALSE(virtio::PackedInflightLog::attach(std::span(region).first(319), ring));
  CHECK_FALSE(virtio::PackedInflightLog::attach(std::span(region).subspan(4), std::span(ring).first(4)));
  CHECK_FALSE(virtio::PackedInflightLog::attach(region, std::span(ring).first(4)));
  GIVEN("one of another version") {
    region[8] = std::byte{2};
  }
  GIVEN("a chain that runs into another") {
    entry(1, 2) = std::byte{2};
    entry(0, 6) = std::byte{3};
  }
  GIVEN("a chain of none") {
    entry(0, 6) = std::byte{0};
  }
  GIVEN("a chain of none that another one holds") {
    entry(0, 6) = std::byte{0};
    entry(2, 6) = std::byte{4};  // 2, 3, and then those of the first: 0, 1
    entry(3, 2) = std::byte{0};
  }
  GIVEN("a chain that leaves the region") {
    entry(0, 2) = std::byte{200};
  }
  GIVEN("a loop of free entries") {
    entry(6, 2) = std::byte{5};
  }
  GIVEN("a free list that begins beyond the region") {
    region[14] = std::byte{8};
  }
  GIVEN("a used index beyond the ring") {
    region[16] = region[18] = std::byte{8};
  }
  GIVEN("one of ones") {
    for (std::size_t i = 12; i < region.size(); ++i) region[i] = std::byte{0xff};
  }
  CHECK_FALSE(recover());
}

SCENARIO("packed queue: sizes and places of rings", "[queue][virtio-2.8.10]") {
  Fixture fixture;
  const auto create = [&](std::uint16_t size, const virtio::RingAddresses& addresses, std::uint32_t position) {
    return virtio::PackedQueue::create(fixture.table.memory(), size, addresses, {}, position).has_value();
  };
  for (const std::uint16_t size : {0, 1025, 0xffff}) CHECK_FALSE(create(size, fixture.addresses(), kFresh));
  CHECK(create(7, fixture.addresses(), kFresh));
  for (const std::uint32_t position : {8u, 0x8008'8000u, 0x8000'8008u, 0xffff'ffffu})
    CHECK_FALSE(create(8, fixture.addresses(), position));
  auto addresses = fixture.addresses();
  SECTION("ring misaligned") {
    addresses.descriptors.value += 8;
  }
  SECTION("ring over the end") {
    addresses.descriptors.value = fixture.ram.end() - 112;
  }
  SECTION("driver's area misaligned") {
    addresses.available.value += 2;
  }
  SECTION("device's area misaligned") {
    addresses.used.value += 2;
  }
  SECTION("device's area at the last address") {
    addresses.used.value = ~std::uint64_t{0} - 3;
  }
  CHECK_FALSE(create(8, addresses, kFresh));
}
