// DISCARD, WRITE_ZEROES and the write cache's mode (virtio 1.2, 5.2.4 to 5.2.6).
#include <sys/stat.h>

#include <algorithm>

#include "tests/conformance/blk_fixture.h"
#include "tests/support/catch.h"

using conformance::any_layout;
using conformance::BlkFixture;
using ipc::vhost_user::Request;
using support::BlkRequest;
using support::Descriptor;
using support::kSector;
using support::kWrite;
using support::make_request;

namespace {

constexpr std::uint64_t bit(unsigned feature) {
  return std::uint64_t{1} << feature;
}
constexpr std::uint64_t kRanges = bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES);

using Segment = virtio_blk_discard_write_zeroes;

std::uint8_t run(BlkFixture& blk, std::uint32_t type, const std::vector<Segment>& segments, std::uint32_t surplus = 0) {
  const auto bytes = static_cast<std::uint32_t>(segments.size() * sizeof(Segment) + surplus);
  const BlkRequest request = make_request(blk.ram, type, 0, bytes);
  if (!segments.empty())
    std::memcpy(blk.ram.at(request.data, bytes).data(), segments.data(), segments.size() * sizeof(Segment));
  std::vector<Descriptor> parts{{request.header, 16}};
  if (bytes > 0) parts.push_back({request.data, bytes});
  parts.push_back({request.status, 1, kWrite});
  return blk.run(request, parts);
}

// Which of the disk's sectors hold nothing but zeroes.
std::vector<std::size_t> zero_sectors(BlkFixture& blk, std::size_t sectors) {
  std::vector<std::size_t> found;
  for (std::size_t s = 0; s < sectors; ++s) {
    std::array<std::byte, kSector> content{};
    if (::pread(blk.disk.get(), content.data(), kSector, static_cast<off_t>(s * kSector)) != ssize_t{kSector})
      return {};
    if (std::ranges::all_of(content, [](std::byte b) { return b == std::byte{0}; })) found.push_back(s);
  }
  return found;
}

bool write_config(BlkFixture& blk, std::uint32_t offset, std::uint8_t value) {
  struct {
    ipc::vhost_user::ConfigHeader header;
    std::uint8_t value;
  } __attribute__((packed)) message{{offset, 1, 0}, value};
  return blk.front_end->ask(Request::SetConfig, message);
}

std::optional<std::uint8_t> read_config(BlkFixture& blk, std::uint32_t offset) {
  struct {
    ipc::vhost_user::ConfigHeader header;
    std::uint8_t value;
  } __attribute__((packed)) message{{offset, 1, 0}, 0};
  if (!blk.front_end->send(Request::GetConfig, message)) return std::nullopt;
  const auto reply = blk.front_end->receive();
  if (!reply || reply->payload.size() != sizeof message) return std::nullopt;
  return std::to_integer<std::uint8_t>(reply->payload.back());
}

}  // namespace

SCENARIO("blk: zeroes are written to all segments, deallocated or not", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout(), .features = kRanges});
  REQUIRE(blk.ready);
  const std::uint32_t unmap = GENERATE(0u, 1u);
  CHECK(run(blk, VIRTIO_BLK_T_WRITE_ZEROES, {{3, 2, unmap}, {60, 4, unmap}, {9, 0, unmap}}) == VIRTIO_BLK_S_OK);
  REQUIRE(blk.last_used);
  CHECK(blk.last_used->length == 1);
  CHECK(zero_sectors(blk, 64) == std::vector<std::size_t>{3, 4, 60, 61, 62, 63});
}

SCENARIO("blk: a discard gives the image's blocks back", "[blk][virtio-5.2.6]") {
  BlkFixture blk({.layout = any_layout(), .sectors = 1024, .features = kRanges});
  REQUIRE(blk.ready);
  struct stat before{};
  struct stat after{};
  REQUIRE(::fstat(blk.disk.get(), &before) == 0);
  CHECK(run(blk, VIRTIO_BLK_T_DISCARD, {{128, 256, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(::fstat(blk.disk.get(), &after) == 0);
  CHECK(after.st_blocks < before.st_blocks);
  CHECK(after.st_size == before.st_size);
}

SCENARIO("blk: the segments may be split in any way", "[blk][virtio-2.7.4.1]") {
  BlkFixture blk({.layout = any_layout(), .features = kRanges});
  REQUIRE(blk.ready);
  const std::uint64_t whole = blk.ram.allocate(48);
  blk.ram.object<virtio_blk_outhdr>(whole) = {.type = VIRTIO_BLK_T_WRITE_ZEROES, .ioprio = 0, .sector = 0};
  blk.ram.object<Segment>(whole + 16) = {7, 1, 1};
  blk.ram.object<Segment>(whole + 32) = {11, 1, 0};
  const BlkRequest request{whole, 0, blk.ram.allocate(1), 0, false};
  CHECK(blk.run(request,
                std::vector<Descriptor>{
                    {whole, 19}, {whole + 19, 14}, {whole + 33, 15}, {request.status, 1, kWrite}}) == VIRTIO_BLK_S_OK);
  CHECK(zero_sectors(blk, 64) == std::vector<std::size_t>{7, 11});
}

SCENARIO("blk: segments that cannot be get the status that says so, and nothing is done", "[blk][virtio-5.2.6.2]") {
  BlkFixture blk({.layout = any_layout(), .features = kRanges});
  REQUIRE(blk.ready);
  constexpr std::uint32_t kDiscard = VIRTIO_BLK_T_DISCARD;
  constexpr std::uint32_t kZero = VIRTIO_BLK_T_WRITE_ZEROES;
  struct Case {
    const char* what;
    std::uint32_t type;
    std::vector<Segment> segments;
    std::uint32_t surplus;
    std::uint8_t status;
  };
  const std::vector<Case> cases{
      {"unmap of a discard", kDiscard, {{0, 1, 1}}, 0, VIRTIO_BLK_S_UNSUPP},
      {"an unknown flag of a discard", kDiscard, {{0, 1, 2}}, 0, VIRTIO_BLK_S_UNSUPP},
      {"an unknown flag of zeroes", kZero, {{0, 1, 3}}, 0, VIRTIO_BLK_S_UNSUPP},
      {"an unknown flag in a later segment", kZero, {{0, 1, 0}, {1, 1, 0x80000000}}, 0, VIRTIO_BLK_S_UNSUPP},
      {"the sector past the end", kZero, {{64, 1, 0}}, 0, VIRTIO_BLK_S_IOERR},
      {"more than there is", kDiscard, {{60, 5, 0}}, 0, VIRTIO_BLK_S_IOERR},
      {"a sector near 2^64", kZero, {{~std::uint64_t{0}, 2, 0}}, 0, VIRTIO_BLK_S_IOERR},
      {"more sectors than allowed", kZero, {{0, 0xffffffff, 0}}, 0, VIRTIO_BLK_S_IOERR},
      {"no segment", kDiscard, {}, 0, VIRTIO_BLK_S_IOERR},
      {"less than a segment", kDiscard, {}, 15, VIRTIO_BLK_S_IOERR},
      {"more than a segment", kZero, {{0, 1, 0}}, 1, VIRTIO_BLK_S_IOERR},
      {"more segments than allowed", kZero, std::vector<Segment>(17, Segment{0, 1, 0}), 0, VIRTIO_BLK_S_IOERR},
  };
  for (const Case& each : cases) {
    INFO(each.what);
    CHECK(run(blk, each.type, each.segments, each.surplus) == each.status);
  }
  CHECK(zero_sectors(blk, 64).empty());
}

SCENARIO("blk: a read-only device offers neither, and does neither", "[blk][virtio-5.2.6.2]") {
  BlkFixture blk({.layout = any_layout(), .writes = blk::Writes::Refused});
  REQUIRE(blk.ready);
  const auto features = blk.front_end->get(Request::GetFeatures);
  REQUIRE(features);
  CHECK((*features & kRanges) == 0);
  CHECK(run(blk, VIRTIO_BLK_T_WRITE_ZEROES, {{0, 1, 0}}) == VIRTIO_BLK_S_UNSUPP);
  CHECK(zero_sectors(blk, 64).empty());
}

SCENARIO("blk: the driver turns the write cache off and on", "[blk][virtio-5.2.5]") {
  constexpr std::uint32_t kWce = offsetof(virtio_blk_config, wce);
  GIVEN("CONFIG_WCE and FLUSH") {
    BlkFixture blk(
        {.layout = any_layout(), .features = bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE) | kRanges});
    REQUIRE(blk.ready);
    CHECK(read_config(blk, kWce) == std::uint8_t{1});
    REQUIRE(write_config(blk, kWce, 0));
    CHECK(read_config(blk, kWce) == std::uint8_t{0});
    CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_OUT, 0, kSector)) == VIRTIO_BLK_S_OK);
    CHECK(run(blk, VIRTIO_BLK_T_WRITE_ZEROES, {{3, 1, 0}}) == VIRTIO_BLK_S_OK);
    REQUIRE(blk.front_end->ask(ipc::vhost_user::Request::SetStatus, std::uint64_t{0}));
    CHECK(read_config(blk, kWce) == std::uint8_t{0});  // as the front end's own copy says
    REQUIRE(blk.front_end->ask(ipc::vhost_user::Request::SetFeatures,
                               bit(32) | bit(VIRTIO_BLK_F_FLUSH) | bit(VIRTIO_BLK_F_CONFIG_WCE)));
    CHECK(read_config(blk, kWce) == std::uint8_t{0});
    REQUIRE(write_config(blk, kWce, 1));
    CHECK(read_config(blk, kWce) == std::uint8_t{1});
    THEN("nothing else can be written") {
      CHECK_FALSE(write_config(blk, kWce, 2));
      CHECK_FALSE(write_config(blk, kWce + 1, 0));
      CHECK_FALSE(write_config(blk, 0, 0));
      CHECK_FALSE(write_config(blk, 0xffffffff, 0));
      CHECK(read_config(blk, kWce) == std::uint8_t{1});
    }
  }
  GIVEN("no CONFIG_WCE") {
    BlkFixture blk({.layout = any_layout(), .features = bit(VIRTIO_BLK_F_FLUSH)});
    REQUIRE(blk.ready);
    CHECK_FALSE(write_config(blk, kWce, 0));
    CHECK(read_config(blk, kWce) == std::uint8_t{1});
  }
  GIVEN("no FLUSH: there is no cache") {
    BlkFixture blk({.layout = any_layout(), .features = bit(VIRTIO_BLK_F_CONFIG_WCE)});
    REQUIRE(blk.ready);
    CHECK(read_config(blk, kWce) == std::uint8_t{0});
  }
}
