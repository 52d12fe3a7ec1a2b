#include "backends/virtio/split_queue.h"

#define VIRTIO_RING_NO_LEGACY  // whose part of the header is C alone
#include <linux/virtio_ring.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace virtio {
namespace {

using ipc::GuestAddress;
using ipc::GuestBuffer;
using ipc::load_once;
using ipc::store_once;

constexpr std::size_t kDescriptorBytes = sizeof(vring_desc);

// Places in the available ring, in 16-bit words (2.7.6).
constexpr std::size_t kAvailableFlags = 0;
constexpr std::size_t kAvailableIndex = 1;
constexpr std::size_t kAvailableRing = 2;

// Places in the used ring's header, in 16-bit words (2.7.8).
constexpr std::size_t kUsedFlags = 0;
constexpr std::size_t kUsedIndex = 1;

}  // namespace

ipc::Result<SplitQueue> SplitQueue::create(const ipc::GuestMemory& memory, std::uint16_t size,
                                           const RingAddresses& addresses, RingFeatures features,
                                           std::uint16_t next_available) {
  if (!std::has_single_bit(size) || size > kMaxQueueSize)
    return ipc::failure(EINVAL,
                        fmt::format("virtqueue of {} entries: a power of two up to {} is right", size, kMaxQueueSize));
  // 2.7: descriptor table 16 * size bytes aligned to 16, available ring 6 + 2 * size to 2, used ring 6 + 8 * size to 4.
  const std::size_t event_bytes = features.event_idx ? sizeof(std::uint16_t) : 0;
  const std::size_t used_bytes = 4 + std::size_t{8} * size;
  const bool aligned =
      addresses.descriptors.value % 16 == 0 && addresses.available.value % 2 == 0 && addresses.used.value % 4 == 0;
  const auto table = memory.slice(addresses.descriptors, kDescriptorBytes * size);
  const auto available = memory.slice(addresses.available, 4 + std::size_t{2} * size + event_bytes);
  const auto used = memory.slice(addresses.used, used_bytes + event_bytes);
  if (!aligned || !table || !available || !used)
    return ipc::failure(EINVAL, "virtqueue whose rings are misaligned or outside of guest memory");

  SplitQueue queue;
  const auto available_words = available->objects<std::uint16_t>(available->size() / 2);
  const auto used_words = used->objects<std::uint32_t>(used_bytes / 4);
  const auto used_halves = used->objects<std::uint16_t>(used->size() / 2);
  if (!available_words || !used_words || !used_halves)
    return ipc::failure(EINVAL, "virtqueue whose rings are misaligned in the front end's memory");
  queue.memory_ = &memory;
  queue.table_ = *table;
  queue.available_ = *available_words;
  queue.used_ = *used_words;
  queue.used_header_ = used_halves->first(2);
  queue.used_tail_ = used_halves->subspan(used_bytes / 2);
  queue.features_ = features;
  queue.size_ = size;
  queue.next_available_ = next_available;
  queue.used_index_ = load_once(queue.used_header_[kUsedIndex]);
  queue.published_index_ = queue.used_index_;
  return queue;
}

std::uint16_t SplitQueue::load_available_index() const {
  // Acquire: the ring entry and descriptors that the index covers are read after it (2.7.13.3).
  return load_once(available_[kAvailableIndex], std::memory_order_acquire);
}

void SplitQueue::resume(InflightLog log) {
  left_ = log.recover(used_index_);
  // All that was ever taken has been given back or is left.
  next_available_ = static_cast<std::uint16_t>(used_index_ + left_.size());
  std::ranges::reverse(left_);
  log_ = std::move(log);
}

std::expected<std::optional<Head>, RingError> SplitQueue::next(Chain& chain) {
  if (!left_.empty()) [[unlikely]] {
    const std::uint16_t head = left_.back();
    left_.pop_back();
    return give(head, chain);
  }
  const auto waiting = static_cast<std::uint16_t>(load_available_index() - next_available_);
  if (waiting == 0) return std::optional<Head>();
  if (waiting > size_) return std::unexpected(RingError::BadAvailableIndex);

  const std::uint16_t head = load_once(available_[kAvailableRing + (next_available_ & (size_ - 1u))]);
  if (head >= size_) return std::unexpected(RingError::BadHead);
  if (taken_[head]) return std::unexpected(RingError::HeadInFlight);
  if (log_) log_->take(head);
  ++next_available_;
  return give(head, chain);
}

std::expected<std::optional<Head>, RingError> SplitQueue::give(std::uint16_t head, Chain& chain) {
  taken_[head] = true;
  ++in_flight_;
  return Head{head, collect(head, chain)};
}

std::expected<void, ChainError> SplitQueue::collect(std::uint16_t head, Chain& chain) const {
  chain.clear();
  GuestBuffer table = table_;
  bool indirect = false;
  std::size_t limit = size_;  // 2.7.5.2: a chain is never longer than its table, so a loop ends here
  std::size_t length = 0;
  std::size_t index = head;
  vring_desc descriptor;
  while (true) {
    if (!table.load(index, descriptor)) return std::unexpected(ChainError::BadIndex);
    if (length++ == limit) return std::unexpected(ChainError::TooLong);
    if ((descriptor.flags & kDescIndirect) == 0) [[likely]] {
      const auto appended =
          append_buffer(*memory_, chain, descriptor.addr, descriptor.len, (descriptor.flags & kDescWrite) != 0);
      if (!appended) return appended;
      if ((descriptor.flags & kDescNext) == 0) return {};
      index = descriptor.next;
      continue;
    }
    // 2.7.5.3.1: no table in a table, none beside NEXT. 2.7.5.3.2: its WRITE flag is ignored, and
    // ordinary descriptors may come before it.
    const bool allowed = features_.indirect && !indirect && (descriptor.flags & kDescNext) == 0 &&
                         descriptor.len % kDescriptorBytes == 0;
    if (!allowed) return std::unexpected(ChainError::BadIndirect);
    const auto buffer = memory_->slice(GuestAddress{descriptor.addr}, descriptor.len);
    if (!buffer) return std::unexpected(ChainError::BadAddress);
    if (descriptor.len == 0) return std::unexpected(ChainError::EmptyBuffer);
    table = *buffer;
    indirect = true;
    limit = std::min(buffer->size() / kDescriptorBytes, kMaxChain);
    length = 0;
    index = 0;
  }
}

bool SplitQueue::publish() {
  if (used_index_ == published_index_) return false;
  // Release: entries and data are in place before the index that covers them (2.7.8.2).
  store_once(used_header_[kUsedIndex], used_index_, std::memory_order_release);
  if (log_) log_->publish(used_index_);
  const std::uint16_t before = std::exchange(published_index_, used_index_);
  // 2.7.10: the index must be seen before we look whether the driver wants to hear of it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!features_.event_idx) return (load_once(available_[kAvailableFlags]) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  const std::uint16_t used_event = load_once(available_[kAvailableRing + size_]);
  return vring_need_event(used_event, used_index_, before) != 0;
}

void SplitQueue::suppress_kicks() {
  // With EVENT_IDX the driver kicks only when it passes avail_event, which stays behind until
  // request_kicks() (2.7.7.2).
  if (!features_.event_idx) store_once(used_header_[kUsedFlags], VRING_USED_F_NO_NOTIFY);
}

bool SplitQueue::request_kicks() {
  if (features_.event_idx)
    store_once(used_tail_[0], next_available_);
  else
    store_once(used_header_[kUsedFlags], 0);
  // 2.7.7: the wish must be seen before we look whether a chain arrived without a kick.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !left_.empty() || load_available_index() != next_available_;
}

}  // namespace virtio
