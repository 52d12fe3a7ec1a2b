// The vhost-user protocol as front ends use and abuse it, against the block device.
#include "tests/conformance/blk_fixture.h"
#include "tests/support/catch.h"

using conformance::alive;
using conformance::any_layout;
using conformance::BlkFixture;
using ipc::vhost_user::MemoryRegion;
using ipc::vhost_user::Request;
using ipc::vhost_user::SingleMemoryRegion;
using ipc::vhost_user::VringState;
using support::kSector;
using support::make_request;

namespace {

struct Table {
  ipc::vhost_user::MemoryTableHeader header{1, 0};
  MemoryRegion region;
};

bool set_table(BlkFixture& blk, const MemoryRegion& region, const ipc::UniqueFd& file) {
  const int fd = file.get();
  return blk.front_end->ask(Request::SetMemTable, Table{.region = region}, std::span(&fd, 1));
}

}  // namespace

SCENARIO("session: only what is done is offered", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout(), .queues = 3});
  REQUIRE(blk.ready);
  CHECK(blk.front_end->get(Request::GetQueueNum) == std::uint64_t{3});
  CHECK(blk.front_end->get(Request::GetMaxMemSlots) == std::uint64_t{32});
  CHECK(blk.front_end->get(Request::GetProtocolFeatures) ==
        std::uint64_t{1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 15 | 1u << 16 |
                      1u << 19 | 1u << 20});
  CHECK_FALSE(blk.front_end->ask(Request::SetFeatures, ~std::uint64_t{0}));
  CHECK_FALSE(blk.front_end->ask(Request::SetProtocolFeatures, ~std::uint64_t{0}));
  CHECK(alive(blk));
}

SCENARIO("session: every bad message is refused where an answer was asked for", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const std::size_t descriptors = support::open_descriptors();
  const std::vector<std::byte> payload(300);
  // Those that have their own reply are not acknowledged: a bad one closes the connection (below).
  const std::vector<std::uint32_t> replying{1, 11, 15, 17, 24, 31, 36, 40, 42, 43};
  for (std::uint32_t request = 0; request < 48; ++request) {
    if (std::ranges::find(replying, request) != replying.end()) continue;
    for (const std::size_t size : {1u, 7u, 9u, 300u}) {
      std::array<int, 8> fds;
      fds.fill(blk.disk.get());
      REQUIRE(blk.front_end->send(request, std::span(payload).first(size), fds, ipc::vhost_user::kNeedReplyFlag));
      INFO("request " << request << " of " << size << " bytes");
      REQUIRE_FALSE(blk.front_end->acknowledged());
    }
  }
  CHECK(alive(blk));
  CHECK(support::open_descriptors() == descriptors);
}

SCENARIO("session: a bad message that cannot be refused ends the connection", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout(), .greet = false});
  GIVEN("an unknown request") {
    REQUIRE(blk.front_end->send(200, {}));
  }
  GIVEN("a request of the wrong size") {
    REQUIRE(blk.front_end->send(2, std::vector<std::byte>(7)));
  }
  GIVEN("a request behind a feature that was not negotiated") {
    REQUIRE(blk.front_end->send(17, {}));
  }
  GIVEN("a ring that the device does not have") {
    REQUIRE(blk.front_end->send(Request::GetVringBase, VringState{1, 0}));
  }
  GIVEN("a reply") {
    REQUIRE(blk.front_end->send(1, {}, {}, ipc::vhost_user::kReplyFlag));
  }
  GIVEN("another version") {
    REQUIRE(blk.front_end->send(1, {}, {}, 2));
  }
  CHECK(blk.front_end->closed());
  blk.hang_up();
  CHECK_FALSE(blk.outcome);
}

SCENARIO("session: memory regions that could hurt are refused, and the old table stays", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const MemoryRegion right = blk.ram.region();
  const std::uint64_t size = right.size;
  MemoryRegion region = right;
  GIVEN("an empty one") {
    region.size = 0;
  }
  GIVEN("one larger than its file") {
    region.size = size + 4096;
  }
  GIVEN("one of 2^63 bytes") {
    region.size = std::uint64_t{1} << 63;
  }
  GIVEN("one that wraps") {
    region.guest_address = ~std::uint64_t{0} - 4096;
  }
  GIVEN("one that wraps for the front end") {
    region.user_address = ~std::uint64_t{0} - 4096;
  }
  GIVEN("an offset beyond the file") {
    region.mmap_offset = size;
  }
  GIVEN("an offset near 2^64") {
    region.mmap_offset = ~std::uint64_t{0} - 4095;
  }
  GIVEN("one in which the running ring is not") {
    region.user_address = support::kUserBase + size;
  }
  CHECK_FALSE(set_table(blk, region, blk.ram.fd()));
  CHECK(alive(blk));
}

SCENARIO("session: a memory region must be a memfd sealed against shrinking", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const MemoryRegion region{support::kGuestBase, 1 << 20, support::kUserBase, 0};
  GIVEN("an unsealed memfd") {
    CHECK_FALSE(set_table(blk, region, support::make_memfd(1 << 20, 0)));
  }
  GIVEN("an ordinary file") {
    CHECK_FALSE(set_table(blk, region, ipc::UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC))));
  }
  CHECK(alive(blk));
}

SCENARIO("session: memory regions come and go while the device runs", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const support::GuestRam more(1 << 20);
  const SingleMemoryRegion slot{0, {1 << 30, 1 << 20, std::uint64_t{1} << 40, 0}};
  const int fd = more.fd().get();
  auto request = make_request(blk.ram, VIRTIO_BLK_T_IN, 4, kSector);
  const std::vector<support::Descriptor> parts{
      {request.header, 16}, {1 << 30, kSector, support::kWrite}, {request.status, 1, support::kWrite}};

  REQUIRE(blk.front_end->ask(Request::AddMemReg, slot, std::span(&fd, 1)));
  // QEMU 7.2 says everything once for each pair of a card's queues: only by the same file, and as often back.
  REQUIRE(blk.front_end->ask(Request::AddMemReg, slot, std::span(&fd, 1)));
  const ipc::UniqueFd alike = support::make_memfd(1 << 20, support::kSeals);
  const int other = alike.get();
  CHECK_FALSE(blk.front_end->ask(Request::AddMemReg, slot, std::span(&other, 1)));
  REQUIRE(blk.front_end->ask(Request::RemMemReg, slot));
  CHECK(blk.run(request, parts) == VIRTIO_BLK_S_OK);
  CHECK(more.at(support::kGuestBase, 1)[0] == std::byte{4});

  REQUIRE(blk.front_end->ask(Request::RemMemReg, slot));
  CHECK_FALSE(blk.front_end->ask(Request::RemMemReg, slot));
  blk.run(request, parts);
  REQUIRE(blk.last_used);
  CHECK(blk.last_used->length == 0);
  CHECK_FALSE(blk.front_end->ask(Request::RemMemReg, SingleMemoryRegion{0, blk.ram.region()}));  // a ring is in it
  CHECK(alive(blk));
}

SCENARIO("session: ring parameters are checked", "[session][vhost-user]") {
  BlkFixture blk({.queues = 2, .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  for (const std::uint32_t size : {0u, 3u, 2048u, 0x10000u, 0x10010u})
    CHECK_FALSE(blk.front_end->ask(Request::SetVringNum, VringState{0, size}));
  for (const std::uint32_t index : {2u, 64u, 0x100u, 0xffffu, 0x10000u})
    CHECK_FALSE(blk.front_end->ask(Request::SetVringNum, VringState{index, 16}));
  CHECK_FALSE(blk.front_end->ask(Request::SetVringBase, VringState{0, 0x10000}));
  CHECK_FALSE(blk.front_end->ask(Request::SetVringEnable, VringState{0, 2}));
  CHECK_FALSE(blk.front_end->ask(Request::SetVringKick, std::uint64_t{0}));      // without its descriptor
  CHECK_FALSE(blk.front_end->ask(Request::SetVringKick, std::uint64_t{0x100}));  // to be polled
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  CHECK_FALSE(blk.front_end->ask(Request::SetVringNum, VringState{0, 16}));
  CHECK_FALSE(blk.front_end->ask(Request::SetVringBase, VringState{0, 1}));
  CHECK(alive(blk));
}

SCENARIO("session: ring addresses must lie in memory, aligned", "[session][virtio-2.7]") {
  BlkFixture blk({.queues = 2});
  REQUIRE(blk.ready);
  const support::FakeQueue& queue = blk.queues[0];
  auto addresses = support::FakeFrontEnd::addresses(queue, 0);
  GIVEN("a table off by one") {
    addresses.descriptor += 1;
  }
  GIVEN("an available ring off by one") {
    addresses.available += 1;
  }
  GIVEN("a used ring off by two") {
    addresses.used += 2;
  }
  GIVEN("a table in no region") {
    addresses.descriptor = 0;
  }
  GIVEN("a used ring that straddles the end of its region") {
    addresses.used = queue.to_user(blk.ram.end()) - 8;
  }
  GIVEN("a flag that nobody defined") {
    addresses.flags = 2;
  }
  CHECK_FALSE(blk.front_end->ask(Request::SetVringAddr, addresses));
  CHECK(alive(blk));
}

SCENARIO("session: stop, reset and a new table in mid-I/O", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout(), .queue_size = 256});
  REQUIRE(blk.ready);
  support::FakeQueue& queue = blk.queues[0];
  std::vector<support::BlkRequest> requests;
  for (int i = 0; i < 80; ++i) {
    requests.push_back(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, 32 * kSector));
    queue.offer(queue.link(requests.back().parts()));
  }
  queue.kick();
  GIVEN("GET_VRING_BASE") {
    const auto base = blk.front_end->stop(0);
    REQUIRE(base);
    const std::uint32_t taken = queue.packed() ? (*base & 0x7fff) / 3 : *base;  // of three descriptors each
    THEN("what was taken has completed, and the rest is done after a new start") {
      for (std::uint32_t i = 0; i < taken; ++i) {
        REQUIRE(queue.wait_used(std::chrono::milliseconds(0)));
        CHECK(blk.status(requests[i]) == VIRTIO_BLK_S_OK);
      }
      REQUIRE(blk.front_end->start(queue, 0, *base));
      for (std::uint32_t i = taken; i < 80; ++i) REQUIRE(queue.wait_used());
    }
  }
  GIVEN("SET_MEM_TABLE with the same memory") {
    REQUIRE(set_table(blk, blk.ram.region(), blk.ram.fd()));
    for (int i = 0; i < 80; ++i) REQUIRE(queue.wait_used());
    CHECK(alive(blk));
  }
  GIVEN("RESET_DEVICE") {
    REQUIRE(
        blk.front_end->send(static_cast<std::uint32_t>(Request::ResetDevice), {}, {}, ipc::vhost_user::kNeedReplyFlag));
    REQUIRE(blk.front_end->acknowledged());
    while (queue.wait_used(std::chrono::milliseconds(0))) continue;
    THEN("nothing is written any more") {
      queue.offer(queue.link(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector).parts()));
      queue.kick();
      CHECK_FALSE(queue.wait_used(std::chrono::milliseconds(50)));
    }
  }
  GIVEN("a front end that goes") {
    blk.hang_up();
    CHECK(blk.outcome);
  }
}

SCENARIO("session: status and its reset", "[session][virtio-2.1]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  REQUIRE(blk.front_end->ask(Request::SetStatus, std::uint64_t{0xf}));
  CHECK(blk.front_end->get(Request::GetStatus) == std::uint64_t{0xf});
  CHECK_FALSE(blk.front_end->ask(Request::SetStatus, std::uint64_t{0x100}));
  REQUIRE(blk.front_end->ask(Request::SetStatus, std::uint64_t{0}));
  CHECK(blk.front_end->get(Request::GetStatus) == std::uint64_t{0});
  blk.queues[0].offer(blk.queues[0].link(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector).parts()));
  blk.queues[0].kick();
  CHECK_FALSE(blk.queues[0].wait_used(std::chrono::milliseconds(50)));
}

SCENARIO("session: a reset device starts where it is told, whatever was in flight before", "[session][inflight]") {
  const auto layout = any_layout();
  BlkFixture blk({.layout = layout, .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  const ipc::UniqueFd file = support::make_memfd(4096, support::kSeals);
  const int fd = file.get();
  REQUIRE(blk.front_end->ask(Request::SetInflightFd, ipc::vhost_user::Inflight{4096, 0, 1, 16, 0}, std::span(&fd, 1)));
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  for (int i = 0; i < 3; ++i) CHECK(alive(blk));
  REQUIRE(blk.front_end->ask(Request::SetStatus, std::uint64_t{0}));
  REQUIRE(blk.front_end->ask(Request::SetFeatures, blk.features() | ipc::vhost_user::kProtocolFeaturesBit));
  blk.queues.clear();  // a driver that begins anew
  blk.queues.emplace_back(blk.ram, std::uint16_t{16}, layout);
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  CHECK(alive(blk));
}

// QEMU 7.2 resets the device before it asks its rings where they stopped.
SCENARIO("session: where a ring stopped is known after a reset", "[session][vhost-user]") {
  const auto layout = any_layout();
  BlkFixture blk({.layout = layout});
  REQUIRE(blk.ready);
  REQUIRE(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
  REQUIRE(blk.front_end->ask(Request::SetStatus, std::uint64_t{0}));
  // One chain of three descriptors: its number, or the place behind it and the wrap counter, twice.
  const std::uint32_t expected = layout == support::Layout::Split ? 1 : 0x8003'8003;
  CHECK(blk.front_end->stop(0) == expected);
  CHECK(blk.front_end->stop(0) == expected);
}

// A process may die between the used index and the interrupt.
SCENARIO("session: a ring that goes on where it was interrupts once, in case that was lost", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  CHECK(blk.queues[0].interrupts() == 0);
  REQUIRE(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
  const auto base = blk.front_end->stop(0);
  REQUIRE(base);
  (void)blk.queues[0].interrupts();
  REQUIRE(blk.front_end->start(blk.queues[0], 0, *base));
  CHECK(blk.queues[0].interrupts() == 1);
}

SCENARIO("session: configuration beyond the bounds is answered with nothing", "[session][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  struct {
    ipc::vhost_user::ConfigHeader header;
    std::array<std::byte, 8> room;
  } ask{};
  GIVEN("an offset that leaves the space") {
    ask.header = {249, 8, 0};
  }
  GIVEN("an offset near 2^32") {
    ask.header = {0xfffffff8, 8, 0};
  }
  GIVEN("a size that is not the payload's") {
    ask.header = {0, 9, 0};
  }
  REQUIRE(blk.front_end->send(Request::GetConfig, ask));
  const auto reply = blk.front_end->receive();
  REQUIRE(reply);
  CHECK(reply->payload.empty());
  CHECK_FALSE(blk.front_end->ask(Request::SetConfig, ask));
  CHECK(alive(blk));
}

SCENARIO("session: an in-flight region is made as it is asked for, sealed", "[session][vhost-user][inflight]") {
  BlkFixture blk({.layout = any_layout(), .queues = 2});
  REQUIRE(blk.ready);
  // With the structure's padding, as QEMU sends it, and without.
  const std::size_t bytes = GENERATE(20u, 24u);
  const ipc::vhost_user::Inflight ask{0, 0, 2, 128, 0};
  REQUIRE(blk.front_end->send(static_cast<std::uint32_t>(Request::GetInflightFd),
                              ipc::vhost_user::payload_of(ask).first(bytes)));
  const auto reply = blk.front_end->receive();
  REQUIRE(reply);
  REQUIRE(reply->payload.size() == bytes);
  REQUIRE(reply->fds.size() == 1);
  ipc::vhost_user::Inflight answer{};
  std::memcpy(&answer, reply->payload.data(), bytes);
  CHECK(answer.mmap_size == (blk.queues[0].packed() ? 2 * (32 + 128 * 32 + 32) : 2 * (16 + 128 * 16 + 48)));
  CHECK(answer.mmap_offset == 0);
  CHECK((::fcntl(reply->fds[0].get(), F_GET_SEALS) & F_SEAL_SHRINK) != 0);
  CHECK(::lseek(reply->fds[0].get(), 0, SEEK_END) == static_cast<off_t>(answer.mmap_size));
}

SCENARIO("session: in-flight regions that could hurt are refused", "[session][vhost-user][inflight][CVE-2021-3839]") {
  BlkFixture blk({.layout = any_layout(), .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  using ipc::vhost_user::Inflight;
  const std::uint64_t bytes = blk.queues[0].packed() ? 32 + 16 * 32 + 32 : 16 + 16 * 16 + 48;
  ipc::UniqueFd file = support::make_memfd(8192, support::kSeals);
  Inflight region{bytes, 0, 1, 16, 0};
  GIVEN("more queues than the device has") {
    region.queues = 2;
  }
  GIVEN("no queue") {
    region.queues = 0;
  }
  GIVEN("65535 queues of 65535") {
    region = {~std::uint64_t{0}, 0, 0xffff, 0xffff, 0};
  }
  GIVEN("a queue size of 0") {
    region.queue_size = 0;
  }
  GIVEN("a queue larger than any") {
    region.queue_size = 2048;
    region.mmap_size = 65536;
  }
  GIVEN("less than its queues need") {
    region.mmap_size = bytes - 1;
  }
  GIVEN("an offset beyond the file") {
    region.mmap_offset = 16384;
  }
  GIVEN("an offset near 2^64") {
    region.mmap_offset = ~std::uint64_t{4095};
  }
  GIVEN("an offset inside a page") {
    region.mmap_offset = 64;
  }
  GIVEN("a file that its owner can cut short") {
    file = support::make_memfd(8192, 0);
  }
  const int fd = file.get();
  CHECK_FALSE(blk.front_end->ask(Request::SetInflightFd, region, std::span(&fd, 1)));
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  CHECK(alive(blk));
}

SCENARIO("session: a ring must fit into the in-flight region, and keeps it while it runs",
         "[session][vhost-user][inflight]") {
  BlkFixture blk({.layout = any_layout(), .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  const ipc::UniqueFd file = support::make_memfd(8192, support::kSeals);
  const int fd = file.get();
  const auto set = [&](std::uint16_t size) {
    return blk.front_end->ask(Request::SetInflightFd, ipc::vhost_user::Inflight{4096, 0, 1, size, 0},
                              std::span(&fd, 1));
  };
  REQUIRE(set(8));
  CHECK_FALSE(blk.front_end->start(blk.queues[0], 0));  // of 16
  const ipc::UniqueFd other = support::make_memfd(8192, support::kSeals);
  const int other_fd = other.get();
  REQUIRE(blk.front_end->ask(Request::SetInflightFd, ipc::vhost_user::Inflight{4096, 0, 1, 16, 0},
                             std::span(&other_fd, 1)));
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  CHECK(alive(blk));
  CHECK_FALSE(set(16));
  CHECK(alive(blk));
}
