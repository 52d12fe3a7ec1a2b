#include "backends/virtio/packed_queue.h"

#define VIRTIO_RING_NO_LEGACY  // whose part of the header is C alone
#include <linux/virtio_ring.h>

#include <algorithm>
#include <utility>

namespace virtio {
namespace {

using ipc::load_once;
using ipc::store_once;

constexpr std::size_t kDescriptorBytes = sizeof(PackedDescriptor);
constexpr std::size_t kEventBytes = 4;

// Event suppression (2.8.14): places of the two fields in 16-bit words, values of the flags.
constexpr std::size_t kEventPosition = 0;
constexpr std::size_t kEventFlags = 1;
constexpr std::uint16_t kEventsEnabled = 0;
constexpr std::uint16_t kEventsDisabled = 1;
constexpr std::uint16_t kEventsAtPosition = 2;

}  // namespace

ipc::Result<PackedQueue> PackedQueue::create(const ipc::GuestMemory& memory, std::uint16_t size,
                                             const RingAddresses& addresses, RingFeatures features,
                                             std::uint32_t position) {
  if (size == 0 || size > kMaxQueueSize)
    return ipc::failure(EINVAL, fmt::format("packed virtqueue of {} entries: 1 to {} is right", size, kMaxQueueSize));
  const auto available = RingPosition::decode(static_cast<std::uint16_t>(position));
  // DPDK tells of the upper half nothing, and means the lower one: nothing is in flight where no region says so.
  const auto used = RingPosition::decode(static_cast<std::uint16_t>(position >> 16 != 0 ? position >> 16 : position));
  if (available.index >= size || used.index >= size)
    return ipc::failure(EINVAL, fmt::format("packed virtqueue of {} entries at position {:#x}", size, position));
  // 2.8.10: the descriptor ring is aligned to 16, the event suppression structures to 4.
  const bool aligned =
      addresses.descriptors.value % 16 == 0 && addresses.available.value % 4 == 0 && addresses.used.value % 4 == 0;
  const auto ring = memory.slice(addresses.descriptors, kDescriptorBytes * size);
  const auto driver = memory.slice(addresses.available, kEventBytes);
  const auto device = memory.slice(addresses.used, kEventBytes);
  if (!aligned || !ring || !driver || !device)
    return ipc::failure(EINVAL, "packed virtqueue whose areas are misaligned or outside of guest memory");
  const auto descriptors = ring->objects<PackedDescriptor>(size);
  const auto driver_events = driver->objects<std::uint32_t>(1);
  const auto device_events = device->objects<std::uint16_t>(2);
  if (!descriptors || !driver_events || !device_events)
    return ipc::failure(EINVAL, "packed virtqueue whose areas are misaligned in the front end's memory");

  PackedQueue queue;
  queue.memory_ = &memory;
  queue.ring_ = *descriptors;
  queue.driver_events_ = *driver_events;
  queue.device_events_ = *device_events;
  queue.features_ = features;
  queue.available_ = available;
  queue.used_ = used;
  queue.occupied_ = static_cast<std::uint16_t>((available.index + size - used.index) % size);
  if (available.index == used.index && available.wrap != used.wrap) queue.occupied_ = size;
  queue.kicks_ = load_once(queue.device_events_[kEventFlags]);
  queue.slots_.resize(size);
  for (std::uint16_t slot = size; slot > 0; --slot) queue.free_slots_.push_back(static_cast<std::uint16_t>(slot - 1));
  queue.parts_.resize(size);
  queue.batch_.reserve(size);
  queue.entries_.reserve(size);
  return queue;
}

ipc::Result<> PackedQueue::resume(std::span<std::byte> region) {
  auto log = TRY(PackedInflightLog::attach(region, ring_));
  auto recovered = TRY(log.recover(used_));
  // All that was ever taken has been given back or is left.
  used_ = recovered.used;
  occupied_ = 0;
  for (const PackedInflightLog::Left& chain : recovered.chains)
    occupied_ = static_cast<std::uint16_t>(occupied_ + chain.parts.size());
  available_ = used_.after(occupied_, size());
  left_.assign(std::move_iterator(recovered.chains.begin()), std::move_iterator(recovered.chains.end()));
  log_ = std::move(log);
  return {};
}

bool PackedQueue::available() const {
  // Acquire: the rest of the chain, which is written before, is read after it (2.8.21).
  const std::uint16_t flags = load_once(ring_[available_.index].flags, std::memory_order_acquire);
  return (flags & kPositionFlags) == available_.available_flags();
}

std::expected<bool, RingError> PackedQueue::read_chain() {
  if (occupied_ == size() || !available()) return false;
  const std::size_t room = size() - std::size_t{occupied_};
  std::size_t index = available_.index;
  part_count_ = 0;
  while (true) {
    if (part_count_ == room) return std::unexpected(RingError::BadAvailableIndex);
    PackedDescriptor& part = parts_[part_count_++];
    std::memcpy(&part, &ring_[index], sizeof part);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler may not fetch the source again
    if ((part.flags & kDescNext) == 0) return true;
    if (++index == ring_.size()) index = 0;
  }
}

std::uint16_t PackedQueue::open_slot(std::uint16_t entry) {
  const std::uint16_t slot = free_slots_.back();
  free_slots_.pop_back();
  // 2.8.6: the id is that of the chain's last descriptor.
  slots_[slot] = {.id = parts().back().id, .count = static_cast<std::uint16_t>(part_count_), .entry = entry};
  ++in_flight_;
  return slot;
}

std::expected<std::optional<Head>, RingError> PackedQueue::next(Chain& chain) {
  std::uint16_t entry = 0;
  if (!left_.empty()) [[unlikely]] {
    const auto& kept = left_.front().parts;  // not more than the ring has
    part_count_ = kept.size();
    std::ranges::copy(kept, parts_.begin());
    entry = left_.front().entry;
    left_.pop_front();
  } else {
    const auto found = read_chain();
    if (!found) return std::unexpected(found.error());
    if (!*found) return std::optional<Head>();
    if (log_) entry = log_->take(parts());
    const auto count = static_cast<std::uint16_t>(part_count_);
    available_ = available_.after(count, size());
    occupied_ = static_cast<std::uint16_t>(occupied_ + count);
  }
  const std::uint16_t slot = open_slot(entry);
  return Head{slot, collect(chain)};
}

std::expected<void, ChainError> PackedQueue::collect(Chain& chain) const {
  chain.clear();
  for (const PackedDescriptor& part : parts()) {
    if ((part.flags & kDescIndirect) != 0) {
      // A table is the end of its chain, as in a split ring.
      if (&part != &parts().back()) return std::unexpected(ChainError::BadIndirect);
      return collect_indirect(part, chain);
    }
    const auto appended = append_buffer(*memory_, chain, part.address, part.length, (part.flags & kDescWrite) != 0);
    if (!appended) return appended;
  }
  return {};
}

// 2.8.7: all of the table's descriptors are the chain, in order; of their flags only WRITE counts.
std::expected<void, ChainError> PackedQueue::collect_indirect(const PackedDescriptor& part, Chain& chain) const {
  if (!features_.indirect || part.length % kDescriptorBytes != 0) return std::unexpected(ChainError::BadIndirect);
  const auto table = memory_->slice(ipc::GuestAddress{part.address}, part.length);
  if (!table) return std::unexpected(ChainError::BadAddress);
  if (part.length == 0) return std::unexpected(ChainError::EmptyBuffer);
  PackedDescriptor inner;
  for (std::size_t index = 0; table->load(index, inner); ++index) {
    if ((inner.flags & kDescIndirect) != 0) return std::unexpected(ChainError::BadIndirect);  // 2.8.19
    const auto appended = append_buffer(*memory_, chain, inner.address, inner.length, (inner.flags & kDescWrite) != 0);
    if (!appended) return appended;
  }
  return {};
}

void PackedQueue::write_used(RingPosition place, const Completed& done) {
  PackedDescriptor& used = ring_[place.index];
  store_once(used.id, slots_[done.slot].id);
  store_once(used.length, done.written);
  // 2.8.6: WRITE says that the length means something. Release: data, id and length are in place before.
  const auto flags = static_cast<std::uint16_t>(place.used_flags() | (done.written > 0 ? kDescWrite : 0));
  store_once(used.flags, flags, std::memory_order_release);
}

bool PackedQueue::publish() {
  if (batch_.empty()) return false;
  std::uint16_t count = 0;  // descriptors
  for (const Completed& done : batch_) count = static_cast<std::uint16_t>(count + slots_[done.slot].count);
  const RingPosition after = used_.after(count, size());
  if (log_) {
    entries_.clear();
    for (const Completed& done : batch_) entries_.push_back(slots_[done.slot].entry);
    log_->begin_batch(entries_, after);
  }
  // The driver looks at the first of them before all others: the batch is shown as a whole by writing it last.
  RingPosition place = used_.after(slots_[batch_.front().slot].count, size());
  for (const Completed& done : std::span(batch_).subspan(1)) {
    write_used(place, done);
    place = place.after(slots_[done.slot].count, size());
  }
  write_used(used_, batch_.front());
  if (log_) log_->end_batch(entries_);
  for (const Completed& done : batch_) free_slots_.push_back(done.slot);
  batch_.clear();
  used_ = after;
  occupied_ = static_cast<std::uint16_t>(occupied_ - count);
  return wants_interrupt(count);
}

bool PackedQueue::wants_interrupt(std::uint16_t count) const {
  // 2.8.21.3: the descriptors must be seen before we look whether the driver wants to hear of them.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint32_t both = load_once(driver_events_[0]);
  const auto flags = static_cast<std::uint16_t>(both >> 16 & 3);
  if (flags != kEventsAtPosition || !features_.event_idx) return flags != kEventsDisabled;
  // 2.8.14.1: was the position passed by these `count` descriptors? One of the lap before counts below zero.
  const auto wish = RingPosition::decode(static_cast<std::uint16_t>(both));
  const auto event = static_cast<std::uint16_t>(wish.index - (wish.wrap == used_.wrap ? 0 : size()));
  return vring_need_event(event, used_.index, static_cast<std::uint16_t>(used_.index - count)) != 0;
}

void PackedQueue::suppress_kicks() {
  if (kicks_ == kEventsDisabled) return;
  kicks_ = kEventsDisabled;
  store_once(device_events_[kEventFlags], kicks_);
}

bool PackedQueue::request_kicks() {
  kicks_ = features_.event_idx ? kEventsAtPosition : kEventsEnabled;
  if (features_.event_idx) store_once(device_events_[kEventPosition], available_.encode());
  store_once(device_events_[kEventFlags], kicks_, std::memory_order_release);
  // 2.8.21.3: the wish must be seen before we look whether a chain arrived without a kick.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !left_.empty() || (occupied_ != size() && available());
}

}  // namespace virtio
