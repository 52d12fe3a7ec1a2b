// Packed virtqueues (virtio 1.2, 2.8) as a driver uses and abuses them, against the block device. What
// both layouts have in common is in the other files of this folder.
#include "tests/conformance/blk_fixture.h"

using conformance::alive;
using conformance::BlkFixture;
using conformance::kEventIdx;
using conformance::kLittle;
using conformance::read_request;
using ipc::vhost_user::Request;
using ipc::vhost_user::VringState;
using support::BlkRequest;
using support::Descriptor;
using support::kNext;
using support::kSector;
using support::kWrite;
using support::Layout;
using support::make_request;

SCENARIO("packed ring: wrap counters flip at the end of the ring, whatever its size", "[ring][virtio-2.8.1]") {
  // 2.8.10.1: the size need not be a power of two.
  const std::uint16_t size = GENERATE(std::uint16_t{16}, std::uint16_t{7}, std::uint16_t{3});
  BlkFixture blk({.layout = Layout::Packed, .queue_size = size});
  REQUIRE(blk.ready);
  for (int i = 0; i < 50; ++i) REQUIRE(alive(blk));
  const std::uint32_t descriptors = 3 * 50;
  const std::uint32_t half = descriptors % size | (descriptors / size % 2 == 0 ? 0x8000u : 0u);
  CHECK(blk.front_end->stop(0) == std::uint32_t{half << 16 | half});
}

SCENARIO("packed ring: it goes on where it was stopped", "[ring][virtio-2.8.1][vhost-user]") {
  const bool wrap = GENERATE(true, false);
  BlkFixture blk({.layout = Layout::Packed, .greet = false});
  blk.queues[0].start_at(14, wrap);
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  for (int i = 0; i < 9; ++i) REQUIRE(alive(blk));
  const auto base = blk.front_end->stop(0);
  REQUIRE(base);
  CHECK(*base == blk.queues[0].base());
  REQUIRE(blk.front_end->start(blk.queues[0], 0, *base));
  CHECK(alive(blk));
}

SCENARIO("packed ring: a base that tells of the driver's position alone means the device's too", "[ring][vhost-user]") {
  // As DPDK's virtio-user sends it, for a ring of which nothing is in flight.
  const bool wrap = GENERATE(true, false);
  BlkFixture blk({.layout = Layout::Packed, .greet = false});
  blk.queues[0].start_at(wrap ? 0 : 5, wrap);
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  REQUIRE(blk.front_end->start(blk.queues[0], 0, blk.queues[0].base() & 0xffff));
  for (int i = 0; i < 20; ++i) REQUIRE(alive(blk));
}

SCENARIO("packed ring: a used descriptor says how much was written", "[ring][virtio-2.8.6]") {
  BlkFixture blk({.layout = Layout::Packed});
  REQUIRE(blk.ready);
  REQUIRE(alive(blk));
  REQUIRE(blk.last_used);
  CHECK(blk.last_used->length == kSector + 1);
  // AVAIL, USED and WRITE, as the device saw the ring for the first time.
  CHECK((blk.ram.object<std::uint16_t>(blk.queues[0].table() + 14) & 0x8082) == 0x8082);
}

SCENARIO("packed ring: a chain that is wrong comes back unused and the ring goes on", "[ring][virtio-2.8.7]") {
  BlkFixture blk({.layout = Layout::Packed, .features = std::uint64_t{1} << 28});
  REQUIRE(blk.ready);
  support::FakeQueue& queue = blk.queues[0];
  const BlkRequest request = read_request(blk);
  const std::uint64_t table = blk.ram.allocate(64);
  std::vector<Descriptor> parts;
  GIVEN("a buffer outside of guest memory") {
    parts = {{blk.ram.end(), 1}};
  }
  GIVEN("a buffer that ends one byte past guest memory, in the middle of a chain") {
    parts = {{request.header, 16}, {blk.ram.end() - 16, 17}, {request.status, 1, kWrite}};
  }
  GIVEN("a buffer that wraps around the address space") {
    parts = {{~std::uint64_t{0} - 7, 16}};
  }
  GIVEN("a buffer of no bytes") {
    parts = {{request.header, 16}, {request.data, 0, kWrite}};
  }
  GIVEN("a readable buffer behind a writable one") {
    parts = {{request.status, 1, kWrite}, {request.header, 16}};
  }
  GIVEN("an indirect table of an odd size") {
    parts = {{table, 17, support::kIndirect}};
  }
  GIVEN("an indirect table of no entries") {
    parts = {{table, 0, support::kIndirect}};
  }
  GIVEN("an indirect table that does not end its chain") {
    parts = {{table, 16, support::kIndirect}, {request.status, 1, kWrite}};
  }
  GIVEN("an indirect table in an indirect table") {
    parts = {{queue.indirect_table(std::vector<Descriptor>{{table, 16, support::kIndirect}}), 16, support::kIndirect}};
  }
  queue.offer(queue.link(parts));
  queue.kick();
  const auto used = queue.wait_used();
  REQUIRE(used);
  CHECK(used->length == 0);
  CHECK(alive(blk));
}

SCENARIO("packed ring: a chain without an end stops this ring alone", "[ring][virtio-2.8.5]") {
  BlkFixture blk({.layout = Layout::Packed, .queues = 2});
  REQUIRE(blk.ready);
  support::FakeQueue& broken = blk.queues[1];
  const BlkRequest request = read_request(blk);
  // 2.8.20: a driver never makes more available than the ring has. Each but the last goes on, and so does the last.
  std::vector<Descriptor> parts(16, {request.header, 16, kNext});
  broken.offer(broken.link(parts));
  broken.kick();
  CHECK(support::readable_within(broken.error_fd(), support::kPatience));
  CHECK(alive(blk));

  REQUIRE(blk.front_end->stop(1));
  broken.start_at(0);
  REQUIRE(blk.front_end->start(broken, 1));
  broken.offer(broken.link(read_request(blk).parts()));
  broken.kick();
  CHECK(broken.wait_used());
}

SCENARIO("packed ring: a driver that wants no interrupts gets none", "[ring][virtio-2.8.14]") {
  BlkFixture blk({.layout = Layout::Packed, .features = GENERATE(std::uint64_t{0}, kEventIdx)});
  REQUIRE(blk.ready);
  blk.queues[0].suppress_interrupts();
  REQUIRE(alive(blk));
  CHECK_FALSE(support::readable_within(blk.queues[0].call_fd(), kLittle));
}

SCENARIO("packed ring: EVENT_IDX says when to interrupt and when to kick", "[ring][virtio-2.8.14]") {
  BlkFixture blk({.layout = Layout::Packed, .features = kEventIdx});
  REQUIRE(blk.ready);
  support::FakeQueue& queue = blk.queues[0];
  GIVEN("a driver that waits for the third completion") {
    queue.set_used_event(6);  // of three descriptors each
    REQUIRE(alive(blk));
    REQUIRE(alive(blk));
    CHECK_FALSE(support::readable_within(queue.call_fd(), kLittle));
    REQUIRE(alive(blk));
    CHECK(support::readable_within(queue.call_fd(), support::kPatience));
  }
  GIVEN("one that waits for a descriptor beyond the ring's end") {
    for (int i = 0; i < 5; ++i) REQUIRE(alive(blk));  // 15 of 16
    (void)queue.interrupts();
    std::this_thread::sleep_for(kLittle);
    (void)queue.interrupts();
    queue.set_used_event(15);
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

SCENARIO("packed ring: parameters are checked", "[session][virtio-2.8.10]") {
  BlkFixture blk({.layout = Layout::Packed, .queues = 2, .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  for (const std::uint32_t size : {0u, 1025u, 0x8000u, 0x10000u, 0x10010u})
    CHECK_FALSE(blk.front_end->ask(Request::SetVringNum, VringState{0, size}));
  for (const std::uint32_t base : {16u, 0x80108000u, 0x80008010u, 0x7fff7fffu})
    CHECK_FALSE(blk.front_end->start(blk.queues[0], 0, base));
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  auto addresses = support::FakeFrontEnd::addresses(blk.queues[0], 0);
  GIVEN("a ring off by eight") {
    addresses.descriptor += 8;
  }
  GIVEN("a driver's area off by two") {
    addresses.available += 2;
  }
  GIVEN("a device's area off by two") {
    addresses.used += 2;
  }
  GIVEN("a ring that straddles the end of its region") {
    addresses.descriptor = blk.queues[0].to_user(blk.ram.end()) - 128;
  }
  GIVEN("areas in no region") {
    addresses.available = 0;
  }
  CHECK_FALSE(blk.front_end->ask(Request::SetVringAddr, addresses));
  CHECK(alive(blk));
}
