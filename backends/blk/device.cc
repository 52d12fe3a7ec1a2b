#include "backends/blk/device.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "backends/serve/log.h"
#include "sandbox/policy/blk.h"

namespace blk {

using ipc::Result;
using virtio::feature_bit;

namespace {

// What a driver that keeps to it can ask for in one request stays below the 2 GiB of one read(2).
constexpr std::uint32_t kMaxSegmentBytes = 16 << 20;
static_assert(std::uint64_t{kMaxSegments} * kMaxSegmentBytes < (std::uint64_t{1} << 31));

// What a migration takes along: little-endian, as is every machine that this runs on.
struct State {
  std::uint32_t version;
  std::uint32_t cache;
};
constexpr std::uint32_t kStateVersion = 1;

Result<> check(const Options& options) {
  if (options.queues == 0 || options.queues > virtio::kMaxQueues)
    return ipc::failure(EINVAL, fmt::format("{} queues: 1 to {} is right", options.queues, virtio::kMaxQueues));
  if (options.manner.threads == 0 || options.manner.threads > options.queues)
    return ipc::failure(EINVAL, fmt::format("{} threads: 1 to {}, the number of queues, is right",
                                            options.manner.threads, options.queues));
  if (options.serial.size() > VIRTIO_BLK_ID_BYTES)
    return ipc::failure(
        EINVAL, fmt::format("serial of {} bytes: at most {} is right", options.serial.size(), VIRTIO_BLK_ID_BYTES));
  return {};
}

}  // namespace

Result<std::unique_ptr<Device>> Device::create(Storage storage, const Options& options) {
  TRY(check(options));
  std::unique_ptr<Device> device(new Device(std::move(storage), options));
  if (options.telemetry == nullptr) {
    device->counters_ = TRY(telemetry::Segment::create(kOperationNames, options.queues));
    device->options_.telemetry = &*device->counters_;
  }
  const serve::MakeGroup make = [&]() -> Result<std::unique_ptr<serve::Group>> {
    return TRY(QueueGroup::create(device->disk_, device->options_));
  };
  device->groups_ = TRY(serve::Groups::create(make, options.manner));
  return device;
}

Device::Device(Storage storage, const Options& options)
    : options_(options), disk_{.storage = std::move(storage), .shape = {}} {
  std::ranges::copy(std::as_bytes(std::span(options.serial)), disk_.serial.begin());

  features_ = feature_bit(VIRTIO_BLK_F_SEG_MAX) | feature_bit(VIRTIO_BLK_F_SIZE_MAX) |
              feature_bit(VIRTIO_BLK_F_BLK_SIZE) | feature_bit(VIRTIO_BLK_F_TOPOLOGY) |
              feature_bit(VIRTIO_BLK_F_FLUSH) | feature_bit(VIRTIO_BLK_F_CONFIG_WCE);
  const Storage& disk = disk_.storage;
  features_ |= disk.read_only() ? feature_bit(VIRTIO_BLK_F_RO)
                                : feature_bit(VIRTIO_BLK_F_DISCARD) | feature_bit(VIRTIO_BLK_F_WRITE_ZEROES);
  if (options.queues > 1) features_ |= feature_bit(VIRTIO_BLK_F_MQ);

  // The fields are little-endian, as is every machine that this runs on.
  const std::uint32_t blocks_per_physical = disk.physical_block() / disk.logical_block();
  config_.capacity = disk.sectors();
  config_.size_max = kMaxSegmentBytes;
  config_.seg_max = kMaxSegments;
  config_.blk_size = disk.logical_block();
  config_.physical_block_exp = static_cast<std::uint8_t>(std::countr_zero(blocks_per_physical));
  config_.min_io_size = static_cast<std::uint16_t>(std::min(blocks_per_physical, 0xffffu));
  config_.num_queues = options.queues;
  config_.max_discard_sectors = kMaxDiscardSectors;
  config_.max_discard_seg = kMaxRanges;
  config_.discard_sector_alignment = disk.physical_block() / kSectorBytes;
  config_.max_write_zeroes_sectors = kMaxZeroSectors;
  config_.max_write_zeroes_seg = kMaxRanges;
  config_.write_zeroes_may_unmap = 1;
  accept(0);
}

void Device::accept(std::uint64_t features) {
  accepted_ = features;
  disk_.shape = {.sectors = disk_.storage.sectors(),
                 .read_only = disk_.storage.read_only(),
                 .discard = accepted(VIRTIO_BLK_F_DISCARD),
                 .write_zeroes = accepted(VIRTIO_BLK_F_WRITE_ZEROES)};
  set_cache(cache_);
}

void Device::forget_front_end() {
  use_memory({});
  cache_ = true;
  accept(0);
}

// 5.2.5.2, 5.2.6.2: a driver that does not know of FLUSH sees no write cache, and none can be on. A front end may
// look before any driver has said what it knows, and show its copy later: that says what will be.
void Device::set_cache(bool on) {
  cache_ = on;
  config_.wce = on && (accepted_ == 0 || accepted(VIRTIO_BLK_F_FLUSH)) ? 1 : 0;
  disk_.write_through = !on || !accepted(VIRTIO_BLK_F_FLUSH);
}

Result<> Device::configure(std::uint32_t offset, std::span<const std::byte> bytes) {
  // 5.2.4: the write cache's mode is all that a driver may write.
  if (!accepted(VIRTIO_BLK_F_CONFIG_WCE) || offset != offsetof(virtio_blk_config, wce) || bytes.size() != 1 ||
      bytes[0] > std::byte{1})
    return ipc::failure(
        EINVAL, fmt::format("virtio-blk: write of {} bytes at {} of the configuration space", bytes.size(), offset));
  set_cache(bytes[0] == std::byte{1});
  return {};
}

std::vector<std::byte> Device::save_state() const {
  const State state{.version = kStateVersion, .cache = cache_ ? 1u : 0u};
  const auto bytes = std::as_bytes(std::span(&state, 1));
  return {bytes.begin(), bytes.end()};
}

Result<> Device::load_state(std::span<const std::byte> bytes) {
  State state{};
  if (bytes.size() == sizeof state) std::memcpy(&state, bytes.data(), sizeof state);
  if (state.version != kStateVersion || state.cache > 1)
    return ipc::failure(EINVAL,
                        fmt::format("virtio-blk: device state of {} bytes, version {}", bytes.size(), state.version));
  set_cache(state.cache == 1);
  return {};
}

void Device::on(std::uint16_t index, const std::function<void(QueueGroup&)>& work) {
  groups_->on(index % options_.manner.threads, [&](serve::Group& group) { work(static_cast<QueueGroup&>(group)); });
}

// What cannot be kept at hand is looked up, which is slower, and right: nothing that a front end must be told.
void Device::use_memory(std::span<const iovec> places) {
  for (std::size_t thread = 0; thread < options_.manner.threads; ++thread) {
    groups_->on(thread, [&](serve::Group& group) {
      const auto kept = static_cast<QueueGroup&>(group).use_memory(places);
      if (!kept && !std::exchange(memory_refused_, true))
        serve::say(fmt::format("guest memory is not pinned: {}", ipc::describe(kept.error())));
    });
  }
}

Result<> Device::start(std::uint16_t index, virtio::Vring& ring) {
  if (running_ == 0 && options_.lock == Lock::Running) {
    TRY(disk_.storage.lock(kLockPatience));
    take_size();  // another process may have let it grow
  }
  Result<> started;
  on(index, [&](QueueGroup& group) { started = group.start(index, ring); });
  if (started) ++running_;
  if (running_ == 0) let_image_go();
  return started;
}

void Device::stop(std::uint16_t index) {
  on(index, [&](QueueGroup& group) { group.stop(index); });
  if (--running_ == 0) let_image_go();
}

void Device::suspend(std::uint16_t index) {
  on(index, [&](QueueGroup& group) { group.suspend(index); });
}

void Device::let_image_go() {
  if (options_.lock == Lock::Running) disk_.storage.unlock();
}

void Device::take_size() {
  disk_.shape.sectors = disk_.storage.sectors();
  config_.capacity = disk_.storage.sectors();
}

Result<bool> Device::grow() {
  if (!TRY(disk_.storage.grow())) return false;
  take_size();
  return true;
}

Result<sandbox::Filter> Device::filter(sandbox::Role role, serve::Group& group, sandbox::Slots slots) {
  serve::Engine& engine = group.engine();
  slots.set(sandbox::Slot::Ring, engine.fd());
  slots.set(sandbox::Slot::Image, disk_.storage.file()).set(sandbox::Slot::Unaligned, disk_.storage.buffered_file());
  const auto& served = static_cast<QueueGroup&>(group);
  const auto io = !engine.is_ring()      ? sandbox::BlkIo::Calls
                  : served.plain_store() ? sandbox::BlkIo::RingAndCalls
                  : served.pins_memory() ? sandbox::BlkIo::PinnedRing
                                         : sandbox::BlkIo::Ring;
  return sandbox::Filter::compile(sandbox::blk_policy(role, io), slots);
}

std::string Device::describe() {
  auto& group = static_cast<QueueGroup&>(groups_->main());
  return fmt::format("{}{}{}, {}", group.engine().is_ring() ? "io_uring" : "epoll",
                     group.plain_store() ? " and plain calls" : "", group.pins_memory() ? ", pinned memory" : "",
                     disk_.storage.kind() == Storage::Kind::Null ? "no disk at all"
                     : disk_.storage.direct()                    ? "direct I/O"
                                                                 : "page cache");
}

}  // namespace blk
