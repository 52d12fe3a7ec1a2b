// The driver's side of a packed virtqueue (virtio 1.2, 2.8), with the same members as SplitRing.
#pragma once

#define VIRTIO_RING_NO_LEGACY  // whose part of the header is C alone
#include <linux/virtio_ring.h>

#include <atomic>
#include <utility>

#include "tests/bench/blk/slots.h"

namespace bench {

class PackedRing {
 public:
  // SET_VRING_BASE: both indices 0, both wrap counters 1.
  static constexpr std::uint32_t kFirstBase = 0x8000'8000;

  static std::size_t bytes_of_ram(std::uint16_t size) { return std::size_t{16} * size + 64; }

  // `size` holds all slots' chains: kParts descriptors each, or one if indirect.
  PackedRing(support::GuestRam& ram, const Slots& slots, std::uint16_t size, bool event_idx, bool indirect)
      : descriptors(ram.allocate(std::size_t{16} * size)),
        driver_area(ram.allocate(sizeof(vring_packed_desc_event))),
        device_area(ram.allocate(sizeof(vring_packed_desc_event))),
        slots_(slots),
        ring_(&ram.object<vring_packed_desc>(descriptors)),
        driver_event_(&ram.object<vring_packed_desc_event>(driver_area)),
        device_event_(&ram.object<vring_packed_desc_event>(device_area)),
        size_(size),
        per_slot_(indirect ? 1 : kParts),
        event_idx_(event_idx) {
    for (std::uint16_t slot = 0; indirect && slot < slots.count(); ++slot) {
      tables_.push_back(&ram.object<vring_packed_desc>(slots.table(slot)));
      const auto parts = slots.parts(slot);
      for (std::size_t i = 0; i < parts.size(); ++i)
        tables_[slot][i] = {.addr = parts[i].address, .len = parts[i].length, .id = 0, .flags = parts[i].flags};
    }
  }

  void offer(std::uint16_t slot, bool write) {
    const unsigned data_flags = write ? 0 : VRING_DESC_F_WRITE;
    if (!tables_.empty()) {
      tables_[slot][1].flags = static_cast<std::uint16_t>(data_flags);  // 2.8.8: NEXT is not used in a table
      put(next_available_, {.addr = slots_.table(slot),
                            .len = kParts * sizeof(vring_packed_desc),
                            .id = slot,
                            .flags = VRING_DESC_F_INDIRECT});
      return;
    }
    // The first descriptor's flags make the chain available: they are written last (2.8.21.1).
    const auto parts = slots_.parts(slot);
    const auto first = next_available_;
    next_available_ = after(first, 1);
    put(next_available_, {.addr = parts[1].address,
                          .len = parts[1].length,
                          .id = slot,
                          .flags = static_cast<std::uint16_t>(data_flags | VRING_DESC_F_NEXT)});
    put(next_available_, {.addr = parts[2].address, .len = parts[2].length, .id = slot, .flags = parts[2].flags});
    Place place = first;
    put(place, {.addr = parts[0].address, .len = parts[0].length, .id = slot, .flags = VRING_DESC_F_NEXT});
  }
  bool publish() {
    const auto offered = static_cast<std::uint16_t>((next_available_.index + size_ - published_) % size_);
    published_ = next_available_.index;
    if (offered == 0) return false;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint16_t flags = std::atomic_ref(device_event_->flags).load(std::memory_order_acquire);
    if (flags != VRING_PACKED_EVENT_FLAG_DESC) return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    const std::uint16_t wish = std::atomic_ref(device_event_->off_wrap).load(std::memory_order_relaxed);
    const bool same_round = (wish >> VRING_PACKED_EVENT_F_WRAP_CTR != 0) == next_available_.wrap;
    const unsigned event = (wish & kOffset) - (same_round ? 0u : size_);
    return vring_need_event(static_cast<std::uint16_t>(event), next_available_.index,
                            static_cast<std::uint16_t>(next_available_.index - offered)) != 0;
  }
  bool completed() const {
    const std::uint16_t flags = std::atomic_ref(ring_[next_used_.index].flags).load(std::memory_order_acquire);
    return (flags & (kAvailable | kUsed)) == (next_used_.wrap ? kAvailable | kUsed : 0);
  }
  std::uint16_t take() {
    const std::uint16_t slot = ring_[next_used_.index].id;
    next_used_ = after(next_used_, per_slot_);
    return slot;
  }
  bool arm() {
    const unsigned wish = next_used_.index | (next_used_.wrap ? 1u << VRING_PACKED_EVENT_F_WRAP_CTR : 0);
    if (event_idx_)
      std::atomic_ref(driver_event_->off_wrap).store(static_cast<std::uint16_t>(wish), std::memory_order_relaxed);
    want(event_idx_ ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return completed();
  }
  void disarm() { want(VRING_PACKED_EVENT_FLAG_DISABLE); }

  const std::uint64_t descriptors, driver_area, device_area;  // guest addresses

 private:
  static constexpr unsigned kAvailable = 1u << VRING_PACKED_DESC_F_AVAIL;
  static constexpr unsigned kUsed = 1u << VRING_PACKED_DESC_F_USED;
  static constexpr unsigned kOffset = (1u << VRING_PACKED_EVENT_F_WRAP_CTR) - 1;

  struct Place {
    std::uint16_t index = 0;
    bool wrap = true;
  };
  Place after(Place place, std::uint16_t steps) const {
    const unsigned index = place.index + unsigned{steps};
    if (index < size_) return {static_cast<std::uint16_t>(index), place.wrap};
    return {static_cast<std::uint16_t>(index - size_), !place.wrap};
  }
  void put(Place& place, vring_packed_desc descriptor) {
    const unsigned flags = descriptor.flags | (place.wrap ? kAvailable : kUsed);
    vring_packed_desc& entry = ring_[place.index];
    entry.addr = descriptor.addr;
    entry.len = descriptor.len;
    entry.id = descriptor.id;
    std::atomic_ref(entry.flags).store(static_cast<std::uint16_t>(flags), std::memory_order_release);
    place = after(place, 1);
  }
  void want(unsigned flags) {
    std::atomic_ref(driver_event_->flags).store(static_cast<std::uint16_t>(flags), std::memory_order_release);
  }

  const Slots& slots_;
  vring_packed_desc* ring_;
  vring_packed_desc_event* driver_event_;
  vring_packed_desc_event* device_event_;
  std::uint16_t size_;
  std::uint16_t per_slot_;
  bool event_idx_;
  std::vector<vring_packed_desc*> tables_;  // of each slot; none: chains are in the ring
  Place next_available_;
  std::uint16_t published_ = 0;
  Place next_used_;
};

}  // namespace bench
