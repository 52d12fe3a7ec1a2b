// Split virtqueues (virtio 1.2, 2.7) as a driver uses and abuses them, against the block device.
#include "tests/conformance/blk_fixture.h"
#include "tests/support/catch.h"

using conformance::alive;
using conformance::BlkFixture;
using conformance::kEventIdx;
using conformance::kLittle;
using conformance::read_request;
using support::BlkRequest;
using support::Descriptor;
using support::kNext;
using support::kSector;
using support::kWrite;
using support::make_request;

SCENARIO("ring: a chain that is wrong comes back unused and the ring goes on", "[ring][virtio-2.7.5]") {
  BlkFixture blk({.features = std::uint64_t{1} << 28});
  REQUIRE(blk.ready);
  support::FakeQueue& queue = blk.queues[0];
  const BlkRequest request = read_request(blk);
  const std::uint64_t table = blk.ram.allocate(64);
  constexpr std::uint16_t head = 8;
  GIVEN("a descriptor whose next is itself") {
    queue.put(8, {request.header, 16, kNext, 8});
  }
  GIVEN("a loop of two") {
    queue.put(8, {request.header, 16, kNext, 9});
    queue.put(9, {request.header, 16, kNext, 8});
  }
  GIVEN("a next beyond the table") {
    queue.put(8, {request.header, 16, kNext, 16});
  }
  GIVEN("a next of 0xffff") {
    queue.put(8, {request.header, 16, kNext, 0xffff});
  }
  GIVEN("a buffer below guest memory") {
    queue.put(8, {support::kGuestBase - 1, 16});
  }
  GIVEN("a buffer that begins at the end of guest memory") {
    queue.put(8, {blk.ram.end(), 1});
  }
  GIVEN("a buffer that ends one byte past guest memory") {
    queue.put(8, {blk.ram.end() - 16, 17});
  }
  GIVEN("a buffer that wraps around the address space") {
    queue.put(8, {~std::uint64_t{0} - 7, 16});
  }
  GIVEN("a buffer of 2^32 - 1 bytes") {
    queue.put(8, {request.header, 0xffffffff});
  }
  GIVEN("a buffer of no bytes") {
    queue.put(8, {request.header, 0});
  }
  GIVEN("a readable buffer behind a writable one") {
    queue.put(8, {request.status, 1, kWrite | kNext, 9});
    queue.put(9, {request.header, 16});
  }
  GIVEN("an indirect table of an odd size") {
    queue.put(8, {table, 17, support::kIndirect});
  }
  GIVEN("an indirect table of no entries") {
    queue.put(8, {table, 0, support::kIndirect});
  }
  GIVEN("an indirect table beside a next") {
    queue.put(8, {table, 16, support::kIndirect | kNext, 9});
  }
  GIVEN("an indirect table in an indirect table") {
    blk.ram.object<Descriptor>(table) = {table + 16, 16, support::kIndirect};
    queue.put(8, {table, 16, support::kIndirect});
  }
  GIVEN("a loop in an indirect table") {
    blk.ram.object<Descriptor>(table) = {request.header, 16, kNext, 0};
    queue.put(8, {table, 32, support::kIndirect});
  }
  GIVEN("a next beyond an indirect table") {
    blk.ram.object<Descriptor>(table) = {request.header, 16, kNext, 2};
    queue.put(8, {table, 32, support::kIndirect});
  }
  queue.offer(head);
  queue.kick();
  const auto used = queue.wait_used();
  REQUIRE(used);
  CHECK(used->id == head);
  CHECK(used->length == 0);
  CHECK(alive(blk));
}

SCENARIO("ring: what cannot be answered stops this ring alone", "[ring][virtio-2.7.6]") {
  BlkFixture blk({.queues = 2});
  REQUIRE(blk.ready);
  support::FakeQueue& broken = blk.queues[1];
  GIVEN("more chains than the queue has entries") {
    broken.set_available_index(17);
  }
  GIVEN("an available index that went backwards") {
    broken.set_available_index(0xffff);
  }
  GIVEN("a head beyond the table") {
    broken.offer(16);
  }
  GIVEN("a head of 0x8000") {
    broken.offer(0x8000);
  }
  GIVEN("the same head twice before it came back") {
    const std::uint16_t head = broken.link(read_request(blk).parts());
    broken.offer(head);
    broken.offer(head);
  }
  broken.kick();
  CHECK(support::readable_within(broken.error_fd(), support::kPatience));
  CHECK(alive(blk));

  // A new start heals it.
  REQUIRE(blk.front_end->stop(1));
  broken.start_at(0);
  REQUIRE(blk.front_end->start(broken, 1));
  broken.offer(broken.link(read_request(blk).parts()));
  broken.kick();
  CHECK(broken.wait_used());
}

SCENARIO("ring: the free-running indices wrap", "[ring][virtio-2.7.6]") {
  BlkFixture blk({.greet = false});
  blk.queues[0].start_at(0xfff0);
  REQUIRE(blk.front_end->greet(blk.ram, std::uint64_t{1} << 32));
  REQUIRE(blk.front_end->start(blk.queues[0], 0, 0xfff0));
  for (int i = 0; i < 40; ++i) REQUIRE(alive(blk));
  CHECK(blk.front_end->stop(0) == std::uint32_t{(0xfff0 + 40) & 0xffff});
}

SCENARIO("ring: spurious kicks do no harm", "[ring][virtio-2.7.13]") {
  BlkFixture blk;
  REQUIRE(blk.ready);
  for (int i = 0; i < 100; ++i) blk.queues[0].kick();
  CHECK_FALSE(blk.queues[0].wait_used(kLittle));
  CHECK(alive(blk));
}

SCENARIO("ring: a driver that wants no interrupts gets none", "[ring][virtio-2.7.7]") {
  BlkFixture blk;
  REQUIRE(blk.ready);
  blk.queues[0].suppress_interrupts();
  REQUIRE(alive(blk));
  CHECK_FALSE(support::readable_within(blk.queues[0].call_fd(), kLittle));
}

SCENARIO("ring: EVENT_IDX says when to interrupt and when to kick", "[ring][virtio-2.7.10]") {
  BlkFixture blk({.features = kEventIdx});
  REQUIRE(blk.ready);
  support::FakeQueue& queue = blk.queues[0];
  GIVEN("a driver that waits for the third completion") {
    queue.set_used_event(2);
    REQUIRE(alive(blk));
    REQUIRE(alive(blk));
    CHECK_FALSE(support::readable_within(queue.call_fd(), kLittle));
    REQUIRE(alive(blk));
    CHECK(support::readable_within(queue.call_fd(), support::kPatience));
  }
  GIVEN("a device that is idle") {
    REQUIRE(alive(blk));
    std::this_thread::sleep_for(kLittle);
    (void)queue.wants_kick(true);
    queue.offer(queue.link(read_request(blk).parts()));
    CHECK(queue.wants_kick(true));
  }
}
