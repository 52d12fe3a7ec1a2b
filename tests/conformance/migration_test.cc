// Live migration: the dirty log and the device's state (vhost-user.rst, "Migration"), against the block device.
#include <algorithm>

#include "tests/conformance/blk_fixture.h"

using conformance::any_layout;
using conformance::BlkFixture;
using ipc::vhost_user::DeviceState;
using ipc::vhost_user::Log;
using ipc::vhost_user::Request;
using support::BlkRequest;
using support::kSector;
using support::make_request;

namespace {

constexpr std::uint64_t kLogAll = std::uint64_t{1} << 26;
constexpr std::uint64_t kFlush = std::uint64_t{1} << VIRTIO_BLK_F_FLUSH;
constexpr std::uint64_t kConfigWce = std::uint64_t{1} << VIRTIO_BLK_F_CONFIG_WCE;
constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kUsedRingAt = 0x4000'0000;  // where writes to the used ring are logged: in no region
constexpr std::uint64_t kLogBytes = kUsedRingAt / kPage / 8 + 1;

// The front end's side of a dirty log.
struct DirtyPages {
  bool set(BlkFixture& blk, std::uint64_t size = kLogBytes, std::uint64_t offset = kPage) const {
    const int fd = file.get();
    if (!blk.front_end->send(Request::SetLogBase, Log{size, offset}, std::span(&fd, 1))) return false;
    const auto reply = blk.front_end->receive();
    return reply && reply->request == static_cast<std::uint32_t>(Request::SetLogBase) &&
           reply->as<std::uint64_t>() == std::uint64_t{0};
  }
  // Is the page at `address` marked? It no longer is.
  bool take(std::uint64_t address) const {
    auto& byte = reinterpret_cast<std::uint8_t&>(bytes.bytes()[kPage + address / kPage / 8]);
    const auto bit = static_cast<std::uint8_t>(1 << address / kPage % 8);
    return (std::atomic_ref(byte).fetch_and(static_cast<std::uint8_t>(~bit)) & bit) != 0;
  }
  bool empty() const {
    return std::ranges::all_of(bytes.bytes(), [](std::byte byte) { return byte == std::byte{0}; });
  }

  ipc::UniqueFd file = support::make_memfd(4 * kPage + kLogBytes, support::kSeals);
  ipc::Mapping bytes = ipc::Mapping::of(file, 0, 4 * kPage + kLogBytes, ipc::Access::ReadWrite).value();
};

bool log_ring(BlkFixture& blk, std::uint32_t flags, std::uint64_t log = kUsedRingAt) {
  auto addresses = support::FakeFrontEnd::addresses(blk.queues[0], 0);
  addresses.flags = flags;
  addresses.log = log;
  return blk.front_end->ask(Request::SetVringAddr, addresses);
}

bool set_features(BlkFixture& blk, std::uint64_t features) {
  return blk.front_end->ask(Request::SetFeatures, features | ipc::vhost_user::kProtocolFeaturesBit);
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
      read = ipc::UniqueFd(ends[0]);
      write = ipc::UniqueFd(ends[1]);
    }
  }
  ipc::UniqueFd read;
  ipc::UniqueFd write;
};

// The reply to SET_DEVICE_STATE_FD; the back end alone has `end` afterwards.
std::optional<std::uint64_t> transfer(BlkFixture& blk, std::uint32_t direction, ipc::UniqueFd end,
                                      std::uint32_t phase = ipc::vhost_user::kStopped) {
  const int fd = end.get();
  if (!blk.front_end->send(Request::SetDeviceStateFd, DeviceState{direction, phase}, std::span(&fd, 1)))
    return std::nullopt;
  const auto reply = blk.front_end->receive();
  return reply ? reply->as<std::uint64_t>() : std::nullopt;
}

std::optional<std::uint64_t> checked(BlkFixture& blk) {
  return blk.front_end->get(Request::CheckDeviceState);
}

std::vector<std::byte> contents(const ipc::UniqueFd& pipe) {
  std::vector<std::byte> bytes(kPage);
  const ssize_t count = ::read(pipe.get(), bytes.data(), bytes.size());
  bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return bytes;
}

bool give(const ipc::UniqueFd& pipe, std::span<const std::byte> bytes) {
  return ::write(pipe.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

std::optional<std::uint8_t> write_cache(BlkFixture& blk) {
  struct {
    ipc::vhost_user::ConfigHeader header{offsetof(virtio_blk_config, wce), 1, 0};
    std::uint8_t value = 0;
  } __attribute__((packed)) message;
  if (!blk.front_end->send(Request::GetConfig, message)) return std::nullopt;
  const auto reply = blk.front_end->receive();
  if (!reply || reply->payload.size() != sizeof message) return std::nullopt;
  return std::to_integer<std::uint8_t>(reply->payload.back());
}

bool set_write_cache(BlkFixture& blk, std::uint8_t value) {
  struct {
    ipc::vhost_user::ConfigHeader header{offsetof(virtio_blk_config, wce), 1, 0};
    std::uint8_t value;
  } __attribute__((packed)) message{.value = value};
  return blk.front_end->ask(Request::SetConfig, message);
}

}  // namespace

SCENARIO("migration: every page that the device writes is marked", "[migration][vhost-user]") {
  BlkFixture blk({.layout = any_layout(), .queue_size = 64});
  REQUIRE(blk.ready);
  const DirtyPages pages;
  const auto read = [&] {
    // Data over two pages, its status on a third.
    BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 0, 2 * kSector);
    request.data = blk.ram.allocate(2 * kPage, kPage) + kPage - kSector;
    request.status = blk.ram.allocate(kPage, kPage);
    blk.ram.object<std::uint8_t>(request.status) = support::kUntouched;
    CHECK(blk.run(request) == VIRTIO_BLK_S_OK);
    return request;
  };
  read();
  REQUIRE(pages.set(blk));
  read();
  CHECK(pages.empty());  // not yet asked for

  // As QEMU does: the log, the feature, then each ring's address, while the rings run.
  REQUIRE(set_features(blk, blk.features() | kLogAll));
  REQUIRE(log_ring(blk, ipc::vhost_user::kVringLog));
  for (int i = 0; i < 20; ++i) {
    const BlkRequest request = read();
    CHECK(pages.take(request.data));
    CHECK(pages.take(request.data + 2 * kSector - 1));
    CHECK(pages.take(request.status));
    CHECK_FALSE(pages.take(request.header));
    CHECK(pages.take(kUsedRingAt));
    if (blk.queues[0].packed()) CHECK(pages.take(blk.queues[0].table()));
  }
  BlkRequest write = make_request(blk.ram, VIRTIO_BLK_T_OUT, 0, kSector);
  write.data = blk.ram.allocate(kPage, kPage);
  write.status = blk.ram.allocate(kPage, kPage);
  CHECK(blk.run(write) == VIRTIO_BLK_S_OK);
  CHECK_FALSE(pages.take(write.data));
  CHECK(pages.take(write.status));

  WHEN("the used ring's pages are not asked for") {
    REQUIRE(log_ring(blk, 0));
    (void)pages.take(kUsedRingAt);
    const BlkRequest request = read();
    CHECK(pages.take(request.status));
    CHECK_FALSE(pages.take(kUsedRingAt));
  }
  WHEN("it is over") {
    REQUIRE(set_features(blk, blk.features()));
    (void)pages.take(kUsedRingAt);
    const BlkRequest request = read();
    CHECK_FALSE(pages.take(request.status));
    CHECK_FALSE(pages.take(kUsedRingAt));
  }
  WHEN("the ring is stopped and started again") {
    const auto base = blk.front_end->stop(0);
    REQUIRE(base);
    REQUIRE(blk.front_end->start(blk.queues[0], 0, *base));
    CHECK(pages.take(read().status));
  }
}

SCENARIO("migration: a request that fails marks what it may have written", "[migration][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const DirtyPages pages;
  REQUIRE(pages.set(blk));
  REQUIRE(set_features(blk, blk.features() | kLogAll));
  BlkRequest request = make_request(blk.ram, VIRTIO_BLK_T_IN, 1 << 20, kSector);
  request.status = blk.ram.allocate(kPage, kPage);
  CHECK(blk.run(request) == VIRTIO_BLK_S_IOERR);
  CHECK(pages.take(request.status));
}

SCENARIO("migration: a dirty log that could hurt is refused", "[migration][vhost-user][CVE-2020-10722]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  ipc::UniqueFd file = support::make_memfd(2 * kPage, support::kSeals);
  Log log{2 * kPage, 0};
  GIVEN("one of no bytes") {
    log.mmap_size = 0;
  }
  GIVEN("one larger than its file") {
    log.mmap_size = 2 * kPage + 1;
  }
  GIVEN("an offset beyond the file") {
    log.mmap_offset = 4 * kPage;
  }
  GIVEN("an offset near 2^64") {
    log.mmap_offset = ~std::uint64_t{0} - kPage + 1;
  }
  GIVEN("a size near 2^64") {
    log = {~std::uint64_t{0}, kPage};
  }
  GIVEN("one too small for guest memory") {
    log.mmap_size = 16;
  }
  GIVEN("a file that its owner can cut short") {
    file = support::make_memfd(2 * kPage, 0);
  }
  GIVEN("no memory at all") {
    file = support::make_eventfd();
  }
  const int fd = file.get();
  CHECK_FALSE(blk.front_end->ask(Request::SetLogBase, log, std::span(&fd, 1)));
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("migration: a used ring must be inside the log", "[migration][vhost-user]") {
  BlkFixture blk({.layout = any_layout()});
  REQUIRE(blk.ready);
  const DirtyPages pages;
  REQUIRE(pages.set(blk));
  REQUIRE(set_features(blk, blk.features() | kLogAll));
  const int fd = blk.queues[0].error_fd().get();
  CHECK(blk.front_end->send(static_cast<std::uint32_t>(Request::SetLogFd), {}, std::span(&fd, 1),
                            ipc::vhost_user::kNeedReplyFlag));
  CHECK(blk.front_end->acknowledged());
  for (const std::uint64_t at : {kLogBytes * 8 * kPage - 2, kLogBytes * 8 * kPage, ~std::uint64_t{0}})
    CHECK_FALSE(log_ring(blk, ipc::vhost_user::kVringLog, at));
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("migration: the device's state goes from one back end to the next", "[migration][device-state]") {
  const support::Layout layout = any_layout();
  const BlkFixture::Setup setup{.layout = layout, .features = kFlush | kConfigWce};
  BlkFixture source(setup);
  REQUIRE(source.ready);
  REQUIRE(set_write_cache(source, 0));

  // Only a device whose rings are all stopped has a state.
  Pipe early;
  CHECK(transfer(source, ipc::vhost_user::kSave, std::move(early.write)) == std::uint64_t{0x101});
  CHECK(contents(early.read).empty());
  REQUIRE(source.front_end->stop(0));

  Pipe saved;
  REQUIRE(transfer(source, ipc::vhost_user::kSave, std::move(saved.write)) == std::uint64_t{0x100});
  const auto state = contents(saved.read);
  CHECK_FALSE(state.empty());
  CHECK(contents(saved.read).empty());  // the end
  CHECK(checked(source) == std::uint64_t{0});

  BlkFixture destination({.layout = layout, .features = kFlush | kConfigWce, .greet = false});
  REQUIRE(destination.front_end->greet(destination.ram, 0));
  Pipe load;
  REQUIRE(transfer(destination, ipc::vhost_user::kLoad, std::move(load.read)) == std::uint64_t{0x100});
  REQUIRE(give(load.write, state));
  load.write = ipc::UniqueFd();
  CHECK(checked(destination) == std::uint64_t{0});
  REQUIRE(set_features(destination, destination.features()));
  REQUIRE(destination.front_end->start(destination.queues[0], 0));
  CHECK(write_cache(destination) == std::uint8_t{0});
  CHECK(destination.run(make_request(destination.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}

SCENARIO("migration: a state that cannot be is refused, and nobody is waited for", "[migration][device-state]") {
  BlkFixture blk({.layout = any_layout(), .features = kFlush | kConfigWce, .greet = false});
  REQUIRE(blk.front_end->greet(blk.ram, blk.features()));
  Pipe pipe;
  GIVEN("a channel that is no pipe") {
    CHECK(transfer(blk, ipc::vhost_user::kSave, support::make_memfd(kPage, 0)) == std::uint64_t{0x101});
    CHECK(checked(blk) == std::uint64_t{1});
  }
  GIVEN("a direction or a phase that nobody defined") {
    CHECK(transfer(blk, 2, std::move(pipe.write)) == std::uint64_t{0x101});
    CHECK(transfer(blk, ipc::vhost_user::kLoad, std::move(pipe.read), 1) == std::uint64_t{0x101});
  }
  GIVEN("the wrong end of a pipe") {
    CHECK(transfer(blk, ipc::vhost_user::kSave, std::move(pipe.read)) == std::uint64_t{0x101});
  }
  GIVEN("a full pipe") {
    const std::vector<std::byte> rubbish(64 << 10);
    REQUIRE(give(pipe.write, rubbish));
    CHECK(transfer(blk, ipc::vhost_user::kSave, std::move(pipe.write)) == std::uint64_t{0x101});
  }
  GIVEN("a state whose end does not come") {
    REQUIRE(transfer(blk, ipc::vhost_user::kLoad, std::move(pipe.read)) == std::uint64_t{0x100});
    CHECK(checked(blk) == std::uint64_t{1});
  }
  GIVEN("a state of the wrong size, version, or value, or larger than any") {
    const std::vector<std::vector<std::byte>> states{
        {}, {std::byte{1}}, std::vector<std::byte>(8, std::byte{0xff}), std::vector<std::byte>(5000)};
    for (const auto& state : states) {
      Pipe load;
      REQUIRE(transfer(blk, ipc::vhost_user::kLoad, std::move(load.read)) == std::uint64_t{0x100});
      REQUIRE((state.empty() || give(load.write, state)));
      load.write = ipc::UniqueFd();
      CHECK(checked(blk) == std::uint64_t{1});
    }
  }
  REQUIRE(blk.front_end->start(blk.queues[0], 0));
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}
