#include "backends/blk/device.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cstddef>

namespace blk {

using ipc::Result;
using virtio::feature_bit;

namespace {

// How a range is discarded or zeroed. Neither changes the file's size.
int fallocate_mode(const Range& range) {
  return FALLOC_FL_KEEP_SIZE | (range.unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

}  // namespace

Result<std::unique_ptr<Device>> Device::create(Storage storage, Engine& engine, const Options& options) {
  if (options.queues == 0 || options.queues > virtio::kMaxQueues)
    return ipc::failure(EINVAL, fmt::format("{} queues: 1 to {} is right", options.queues, virtio::kMaxQueues));
  if (options.serial.size() > VIRTIO_BLK_ID_BYTES)
    return ipc::failure(
        EINVAL, fmt::format("serial of {} bytes: at most {} is right", options.serial.size(), VIRTIO_BLK_ID_BYTES));
  TRY(engine.set_file(index_of(FileSlot::Image), storage.file()));
  return std::unique_ptr<Device>(new Device(std::move(storage), engine, options));
}

Device::Device(Storage storage, Engine& engine, const Options& options)
    : storage_(std::move(storage)), engine_(engine), queues_(options.queues) {
  std::ranges::copy(std::as_bytes(std::span(options.serial)), serial_.begin());

  features_ = feature_bit(VIRTIO_BLK_F_SEG_MAX) | feature_bit(VIRTIO_BLK_F_BLK_SIZE) |
              feature_bit(VIRTIO_BLK_F_TOPOLOGY) | feature_bit(VIRTIO_BLK_F_FLUSH) |
              feature_bit(VIRTIO_BLK_F_CONFIG_WCE);
  features_ |= storage_.read_only() ? feature_bit(VIRTIO_BLK_F_RO)
                                    : feature_bit(VIRTIO_BLK_F_DISCARD) | feature_bit(VIRTIO_BLK_F_WRITE_ZEROES);
  if (options.queues > 1) features_ |= feature_bit(VIRTIO_BLK_F_MQ);

  // The fields are little-endian, as is every machine that this runs on.
  const std::uint32_t blocks_per_physical = storage_.physical_block() / storage_.logical_block();
  config_.capacity = storage_.sectors();
  config_.seg_max = kMaxSegments;
  config_.blk_size = storage_.logical_block();
  config_.physical_block_exp = static_cast<std::uint8_t>(std::countr_zero(blocks_per_physical));
  config_.min_io_size = static_cast<std::uint16_t>(std::min(blocks_per_physical, 0xffffu));
  config_.num_queues = options.queues;
  config_.max_discard_sectors = kMaxDiscardSectors;
  config_.max_discard_seg = kMaxRanges;
  config_.discard_sector_alignment = storage_.physical_block() / kSectorBytes;
  config_.max_write_zeroes_sectors = kMaxZeroSectors;
  config_.max_write_zeroes_seg = kMaxRanges;
  config_.write_zeroes_may_unmap = 1;
}

void Device::accept(std::uint64_t features) {
  accepted_ = features;
  // 5.2.5.2: a driver that does not know of FLUSH sees no write cache.
  config_.wce = accepted(VIRTIO_BLK_F_FLUSH) ? 1 : 0;
}

Result<> Device::configure(std::uint32_t offset, std::span<const std::byte> bytes) {
  // 5.2.4: the write cache's mode is all that a driver may write.
  if (!accepted(VIRTIO_BLK_F_CONFIG_WCE) || offset != offsetof(virtio_blk_config, wce) || bytes.size() != 1 ||
      bytes[0] > std::byte{1})
    return ipc::failure(
        EINVAL, fmt::format("virtio-blk: write of {} bytes at {} of the configuration space", bytes.size(), offset));
  // 5.2.6.2: without FLUSH there is no cache that could be on.
  config_.wce = accepted(VIRTIO_BLK_F_FLUSH) ? std::to_integer<std::uint8_t>(bytes[0]) : std::uint8_t{0};
  return {};
}

Result<bool> Device::grow() {
  if (!TRY(storage_.grow())) return false;
  config_.capacity = storage_.sectors();
  return true;
}

DiskShape Device::shape() const {
  return {.sectors = storage_.sectors(),
          .read_only = storage_.read_only(),
          .discard = accepted(VIRTIO_BLK_F_DISCARD),
          .write_zeroes = accepted(VIRTIO_BLK_F_WRITE_ZEROES)};
}

Token Device::kick_token(const Queue& queue) const {
  const auto index = static_cast<std::uint8_t>(&queue - queues_.data());
  return {.op = Op::Kick, .queue = index, .slot = 0, .generation = queue.generation};
}

Result<> Device::start(std::uint16_t index, virtio::Vring& ring) {
  TRY(engine_.set_file(kick_slot(index), ring.kick()));
  Queue& queue = queues_[index];
  ++queue.generation;
  queue.ring = &ring;
  queue.look = true;  // the driver may have kicked before we watched
  engine_.watch(kick_slot(index), kick_token(queue));
  return {};
}

void Device::stop(std::uint16_t index) {
  Queue& queue = queues_[index];
  engine_.unwatch(kick_token(queue));
  engine_.clear_file(kick_slot(index));
  queue.ring = nullptr;
  queue.look = false;
}

void Device::on_kick(Token token, Completion completion) {
  Queue& queue = queues_[token.queue];
  if (queue.ring == nullptr || token.generation != queue.generation) return;
  if (completion.result < 0) return queue.ring->fail();  // it is nothing that can be waited for
  queue.look = true;
  if (!completion.more) engine_.watch(kick_slot(token.queue), token);
}

bool Device::work_waits() const {
  return has_room() && std::ranges::any_of(queues_, &Queue::look);
}

void Device::serve() {
  for (Queue& queue : queues_)
    if (queue.look) serve(queue);
}

void Device::serve(Queue& queue) {
  queue.look = false;
  virtio::Queue& ring = queue.ring->queue();
  ring.suppress_kicks();
  // A bound, so that one busy ring leaves time for the others and for messages.
  for (std::uint16_t taken = 0; !queue.ring->failed(); ++taken) {
    if (taken == ring.size() || !has_room()) {
      queue.look = true;
      return;
    }
    const auto head = ring.next(chain_);
    if (!head) return queue.ring->fail();
    if (*head)
      take(queue, **head);
    else if (!ring.request_kicks())
      return;
  }
}

void Device::take(Queue& queue, const virtio::Head& head) {
  if (!head.chain) return queue.ring->queue().complete(head.index, 0);
  const std::uint16_t slot = acquire();
  InFlight& entry = pool_[slot];
  entry.queue = static_cast<std::uint16_t>(&queue - queues_.data());
  entry.head = head.index;
  const auto parsed = parse(chain_, shape(), entry.request);
  if (parsed) {
    if (entry.request.kind == Kind::GetId) write_id(chain_, serial_);
    return submit(slot);
  }
  const Refusal& refusal = parsed.error();
  const std::uint32_t written =
      refusal.place ? write_status(*refusal.place, refusal.status, 0, refusal.data_bytes) : std::uint32_t{0};
  queue.ring->queue().complete(head.index, written);
  free_.push_back(slot);
}

std::uint16_t Device::acquire() {
  if (free_.empty()) {
    pool_.emplace_back();
    free_.reserve(pool_.size());
    return static_cast<std::uint16_t>(pool_.size() - 1);
  }
  const std::uint16_t slot = free_.back();
  free_.pop_back();
  return slot;
}

void Device::submit(std::uint16_t slot) {
  Request& request = pool_[slot].request;
  const Token token{.op = Op::DiskIo, .queue = 0, .slot = slot, .generation = 0};
  switch (request.kind) {
    case Kind::Flush:
      return engine_.flush(token);
    case Kind::GetId:
      return finish(slot, VIRTIO_BLK_S_OK);  // take() has written it
    case Kind::Read:
      if (request.data.bytes() == 0) return finish(slot, VIRTIO_BLK_S_OK);
      return engine_.read(request.data.rest(), request.offset, token);
    case Kind::Write:
      if (request.data.bytes() == 0) return finish(slot, VIRTIO_BLK_S_OK);
      return engine_.write(request.data.rest(), request.offset, write_through(), token);
    case Kind::Discard:
    case Kind::WriteZeroes:
      return submit_range(slot);
  }
}

void Device::submit_range(std::uint16_t slot) {
  Request& request = pool_[slot].request;
  const Token token{.op = Op::DiskIo, .queue = 0, .slot = slot, .generation = 0};
  const std::span<Range> ranges = request.ranges.rest();
  if (ranges.empty()) {
    if (request.kind == Kind::Discard || !write_through()) return finish(slot, VIRTIO_BLK_S_OK);
    request.kind = Kind::Flush;  // 5.2.6.2: zeroes are written as data is
    return engine_.flush(token);
  }
  const Range& range = ranges.front();
  if (!request.by_writing) return engine_.fallocate(fallocate_mode(range), range.offset, range.bytes, token);
  request.data.clear();
  append_zeroes(request.data, range.bytes);
  engine_.write(request.data.rest(), range.offset, false, token);
}

void Device::on_range(std::uint16_t slot, int result) {
  Request& request = pool_[slot].request;
  if (result == -EOPNOTSUPP && !request.by_writing) {
    // What was discarded may read as anything: to do nothing is right.
    if (request.kind == Kind::Discard) return finish(slot, VIRTIO_BLK_S_OK);
    request.by_writing = true;
    return submit_range(slot);
  }
  if (result < 0 || (request.by_writing && result == 0)) return finish(slot, VIRTIO_BLK_S_IOERR);
  Range& range = request.ranges.rest().front();
  const std::uint64_t done = request.by_writing ? static_cast<std::uint64_t>(result) : range.bytes;
  range.offset += done;
  range.bytes -= done;
  if (range.bytes == 0) request.ranges.drop_first();
  submit_range(slot);
}

void Device::on_disk_io(Token token, Completion completion) {
  Request& request = pool_[token.slot].request;
  if (completion.result == -EINTR || completion.result == -EAGAIN) return submit(token.slot);
  if (request.kind == Kind::Discard || request.kind == Kind::WriteZeroes)
    return on_range(token.slot, completion.result);
  if (completion.result < 0) return finish(token.slot, VIRTIO_BLK_S_IOERR);
  if (request.kind == Kind::Flush) return finish(token.slot, VIRTIO_BLK_S_OK);
  // Nothing was moved though something remains: the image ends before it should.
  if (completion.result == 0) return finish(token.slot, VIRTIO_BLK_S_IOERR);
  const auto moved = static_cast<std::uint64_t>(completion.result);
  request.data.advance(moved);
  request.offset += moved;
  if (request.data.bytes() > 0) return submit(token.slot);
  finish(token.slot, VIRTIO_BLK_S_OK);
}

void Device::finish(std::uint16_t slot, std::uint8_t status) {
  const InFlight& entry = pool_[slot];
  const Request& request = entry.request;
  const std::uint32_t filled = status == VIRTIO_BLK_S_OK ? request.fills : 0;
  const std::uint32_t written = write_status(request.status, status, filled, request.data_bytes);
  queues_[entry.queue].ring->queue().complete(entry.head, written);
  free_.push_back(slot);
}

void Device::publish() {
  for (Queue& queue : queues_)
    if (queue.ring != nullptr) queue.ring->publish();
}

}  // namespace blk
