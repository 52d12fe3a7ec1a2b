// Requests of the block device (virtio 1.2, 5.2.6), over a real vhost-user connection.
#include <numeric>

#include "tests/conformance/blk_fixture.h"
#include "tests/support/catch.h"

using conformance::any_layout;
using conformance::BlkFixture;
using support::BlkRequest;
using support::Descriptor;
using support::kSector;
using support::kWrite;
using support::make_request;

namespace {

constexpr std::uint64_t kFlushFeature = std::uint64_t{1} << VIRTIO_BLK_F_FLUSH;
constexpr std::uint64_t kIndirectFeature = std::uint64_t{1} << 28;

std::vector<std::byte> sector_content(std::size_t sector) {
  std::vector<std::byte> content(kSector);
  for (std::size_t i = 0; i < kSector; ++i) content[i] = static_cast<std::byte>(sector + i);
  return content;
}

bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::ranges::equal(a, b);
}

}  // namespace

SCENARIO("blk: a read returns the disk's data", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  WHEN("the driver reads sector 3") {
    const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 3, kSector);
    CHECK(blk.run(request) == VIRTIO_BLK_S_OK);
    THEN("data and used length are right, and the driver is interrupted") {
      CHECK(equal(blk.ram.at(request.data, kSector), sector_content(3)));
      REQUIRE(blk.last_used);
      CHECK(blk.last_used->length == kSector + 1);
      CHECK(support::readable_within(blk.queues[0].call_fd(), support::kPatience));
    }
  }
}

SCENARIO("blk: header, data and status may be split in any way", "[blk][virtio-2.7.4.1]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 5, kSector);
  std::vector<Descriptor> parts;
  WHEN("the header comes byte by byte and the data in odd pieces") {
    // 6 + 3 + 1 descriptors of a queue of 16.
    parts = {{request.header, 1},        {request.header + 1, 2},         {request.header + 3, 3},
             {request.header + 6, 4},    {request.header + 10, 5},        {request.header + 15, 1},
             {request.data, 1, kWrite},  {request.data + 1, 500, kWrite}, {request.data + 501, 11, kWrite},
             {request.status, 1, kWrite}};
  }
  WHEN("data and status share a descriptor") {
    request.data = blk.ram.allocate(kSector + 1);
    request.status = request.data + kSector;
    parts = {{request.header, 16}, {request.data, kSector + 1, kWrite}};
  }
  CHECK(blk.run(request, parts) == VIRTIO_BLK_S_OK);
  CHECK(equal(blk.ram.at(request.data, kSector), sector_content(5)));
}

SCENARIO("blk: a write reaches the image, from a header that shares its descriptor too", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const std::uint64_t together = blk.ram.allocate(16 + kSector);
  const BlkRequest request{together, together + 16, blk.ram.allocate(1), kSector, false};
  blk.ram.object<virtio_blk_outhdr>(together) = {.type = VIRTIO_BLK_T_OUT, .ioprio = 0, .sector = 7};
  std::ranges::copy(sector_content(99), blk.ram.at(request.data, kSector).begin());
  CHECK(blk.run(request, std::vector<Descriptor>{{together, 16 + kSector}, {request.status, 1, kWrite}}) ==
        VIRTIO_BLK_S_OK);
  std::vector<std::byte> written(kSector);
  REQUIRE(::pread(blk.disk.get(), written.data(), kSector, 7 * kSector) == ssize_t{kSector});
  CHECK(equal(written, sector_content(99)));
  REQUIRE(blk.last_used);
  CHECK(blk.last_used->length == 1);
}

SCENARIO("blk: flush succeeds", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout(), .features = kFlushFeature});
  REQUIRE(blk.ready);
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_FLUSH, 0, 0)) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk: the serial number has 20 bytes", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  GIVEN("a buffer of 20 bytes") {
    const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);
    std::ranges::fill(blk.ram.at(request.data, VIRTIO_BLK_ID_BYTES), std::byte{0xee});
    CHECK(blk.run(request) == VIRTIO_BLK_S_OK);
    const auto id = blk.ram.at(request.data, VIRTIO_BLK_ID_BYTES);
    CHECK(std::memcmp(id.data(), "test-disk\0\0\0\0\0\0\0\0\0\0\0", VIRTIO_BLK_ID_BYTES) == 0);
  }
  GIVEN("a shorter one") {
    const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES - 1);
    CHECK(blk.run(request) == VIRTIO_BLK_S_IOERR);
  }
}

SCENARIO("blk: what cannot be done gets the status that says so, and the device goes on", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout(), .sectors = 2});
  REQUIRE(blk.ready);
  struct Case {
    const char* what;
    std::uint32_t type;
    std::uint64_t sector;
    std::uint32_t bytes;
    std::uint8_t status;
  };
  const Case refused = GENERATE(
      Case{"a read of the first sector past the end", VIRTIO_BLK_T_IN, 2, kSector, VIRTIO_BLK_S_IOERR},
      Case{"a read that runs over the end", VIRTIO_BLK_T_IN, 1, 2 * kSector, VIRTIO_BLK_S_IOERR},
      Case{"a write over the end", VIRTIO_BLK_T_OUT, 1, 2 * kSector, VIRTIO_BLK_S_IOERR},
      Case{"a sector whose bytes wrap", VIRTIO_BLK_T_IN, ~std::uint64_t{0} / 512 + 1, kSector, VIRTIO_BLK_S_IOERR},
      Case{"the last sector number", VIRTIO_BLK_T_IN, ~std::uint64_t{0}, kSector, VIRTIO_BLK_S_IOERR},
      Case{"less than a sector", VIRTIO_BLK_T_IN, 0, kSector - 1, VIRTIO_BLK_S_IOERR},
      Case{"more than a sector", VIRTIO_BLK_T_OUT, 0, kSector + 1, VIRTIO_BLK_S_IOERR},
      Case{"SCSI commands", VIRTIO_BLK_T_SCSI_CMD, 0, kSector, VIRTIO_BLK_S_UNSUPP},
      Case{"discard, which was not offered", VIRTIO_BLK_T_DISCARD, 0, 16, VIRTIO_BLK_S_UNSUPP},
      Case{"a type that nobody defined", 0xffffffff, 0, kSector, VIRTIO_BLK_S_UNSUPP});
  INFO(refused.what);
  CHECK(blk.run(make_request(blk.ram, refused.type, refused.sector, refused.bytes)) == refused.status);
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk: a read-only device refuses writes and says so", "[blk][virtio-5.2.6.2]") {
  BlkFixture blk({.layout = any_layout(), .writes = blk::Writes::Refused});
  REQUIRE(blk.ready);
  const auto features = blk.front_end->get(ipc::vhost_user::Request::GetFeatures);
  REQUIRE(features);
  CHECK((*features & std::uint64_t{1} << VIRTIO_BLK_F_RO) != 0);
  const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_OUT, 0, kSector);
  CHECK(blk.run(request) == VIRTIO_BLK_S_IOERR);
  std::vector<std::byte> content(kSector);
  REQUIRE(::pread(blk.disk.get(), content.data(), kSector, 0) == ssize_t{kSector});
  CHECK(equal(content, sector_content(0)));
}

SCENARIO("blk: a request without room for a status, or without a whole header", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector);
  GIVEN("no writable descriptor") {
    blk.run(request, std::vector<Descriptor>{{request.header, 16}});
    THEN("the chain comes back with nothing in it") {
      REQUIRE(blk.last_used);
      CHECK(blk.last_used->length == 0);
    }
  }
  GIVEN("a header of 15 bytes") {
    CHECK(blk.run(request, std::vector<Descriptor>{{request.header, 15}, {request.status, 1, kWrite}}) ==
          VIRTIO_BLK_S_IOERR);
  }
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk: an image that was cut short gives I/O errors, not a crash", "[blk]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  REQUIRE(::ftruncate(blk.disk.get(), 3 * kSector + 100) == 0);
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 3, kSector)) == VIRTIO_BLK_S_IOERR);
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 40, kSector)) == VIRTIO_BLK_S_IOERR);
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 2, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("blk: indirect descriptors", "[blk][virtio-2.7.5.3]") {
  BlkFixture blk({.layout = any_layout(), .features = kIndirectFeature});
  REQUIRE(blk.ready);
  GIVEN("a request of more parts than the queue has entries") {
    const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 0, 40 * kSector);
    std::vector<Descriptor> parts{{request.header, 16}};
    for (std::uint64_t i = 0; i < 40; ++i) parts.push_back({request.data + i * kSector, kSector, kWrite});
    parts.push_back({request.status, 1, kWrite});
    blk.queues[0].offer(blk.queues[0].link_indirect(parts));
    blk.queues[0].kick();
    REQUIRE(blk.queues[0].wait_used());
    CHECK(blk.status(request) == VIRTIO_BLK_S_OK);
    CHECK(equal(blk.ram.at(request.data + 39 * kSector, kSector), sector_content(39)));
  }
  GIVEN("a chain of an ordinary descriptor and then a table") {
    const BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 1, kSector);
    const std::uint64_t table = blk.queues[0].indirect_table(
        std::vector<Descriptor>{{request.data, kSector, kWrite}, {request.status, 1, kWrite}});
    CHECK(blk.run(request, std::vector<Descriptor>{{request.header, 16}, {table, 32, support::kIndirect}}) ==
          VIRTIO_BLK_S_OK);
  }
}

SCENARIO("blk: every queue of a multi-queue device works, and many requests at once", "[blk][virtio-5.2.5]") {
  BlkFixture blk({.layout = any_layout(), .queues = 4, .queue_size = 64});
  REQUIRE(blk.ready);
  std::vector<BlkRequest> requests;
  for (std::uint64_t round = 0; round < 16; ++round) {
    for (support::FakeQueue& queue : blk.queues) {
      requests.push_back(make_request(blk.ram, VIRTIO_BLK_T_IN, requests.size(), kSector));
      queue.offer(queue.link(requests.back().parts()));
    }
  }
  for (support::FakeQueue& queue : blk.queues) queue.kick();
  for (support::FakeQueue& queue : blk.queues)
    for (int i = 0; i < 16; ++i) REQUIRE(queue.wait_used());
  for (std::size_t i = 0; i < requests.size(); ++i)
    CHECK((blk.status(requests[i]) == VIRTIO_BLK_S_OK &&
           equal(blk.ram.at(requests[i].data, kSector), sector_content(i))));
}

SCENARIO("blk: the configuration space tells the disk's shape", "[blk][virtio-5.2.4]") {
  BlkFixture blk({.layout = any_layout(), .sectors = 64, .queues = 3});
  REQUIRE(blk.ready);
  struct {
    ipc::vhost_user::ConfigHeader header{0, sizeof(virtio_blk_config), 0};
    virtio_blk_config config{};
  } __attribute__((packed)) ask;
  REQUIRE(blk.front_end->send(ipc::vhost_user::Request::GetConfig, ask));
  const auto reply = blk.front_end->receive();
  REQUIRE(reply);
  REQUIRE(reply->payload.size() == sizeof ask);
  std::memcpy(&ask, reply->payload.data(), sizeof ask);
  CHECK(std::uint64_t{ask.config.capacity} == 64);
  CHECK(std::uint16_t{ask.config.num_queues} == 3);
  CHECK(std::uint32_t{ask.config.blk_size} == 512);
  CHECK(std::uint32_t{ask.config.seg_max} == blk::kMaxSegments);
}
