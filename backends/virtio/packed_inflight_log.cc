#include "backends/virtio/packed_inflight_log.h"

#include <algorithm>

#include "backends/virtio/inflight_region.h"

namespace virtio {
namespace {

using inflight_region::kVersion;
using inflight_region::store;
using ipc::load_once;
using ipc::Result;

ipc::Error corrupt(std::string_view what) {
  return {EINVAL, fmt::format("in-flight region of a packed ring: {}", what)};
}

}  // namespace

std::size_t packed_inflight_bytes(std::uint16_t queue_size) {
  return inflight_region::bytes<PackedInflightLog::Header, PackedInflightLog::Entry>(queue_size);
}

Result<PackedInflightLog> PackedInflightLog::attach(std::span<std::byte> region, std::span<PackedDescriptor> ring) {
  static_assert(sizeof(Header) == 32 && sizeof(Entry) == 32);
  const bool fits = !ring.empty() && ring.size() <= kMaxQueueSize &&
                    region.size() >= packed_inflight_bytes(static_cast<std::uint16_t>(ring.size())) &&
                    reinterpret_cast<std::uintptr_t>(region.data()) % alignof(Header) == 0;
  if (!fits)
    return ipc::failure(
        EINVAL, fmt::format("in-flight region of {} bytes for a packed ring of {}", region.size(), ring.size()));
  PackedInflightLog log;
  // SAFETY: bounds and alignment are checked above; both are trivially copyable, and only touched by
  // load_once() and std::atomic_ref; the region outlives the log by its contract.
  log.header_ = reinterpret_cast<Header*>(region.data());
  log.entries_ = std::span(reinterpret_cast<Entry*>(region.data() + sizeof(Header)), ring.size());
  log.ring_ = ring;
  log.next_.resize(ring.size());
  log.last_.resize(ring.size());
  const std::uint16_t version = load_once(log.header_->version);
  if (version == 0) {
    log.new_ = true;
    log.initialise();
  } else if (version != kVersion || load_once(log.header_->features) != 0 ||
             load_once(log.header_->desc_num) != log.size()) {
    return ipc::failure(EINVAL, fmt::format("in-flight region of version {} for {} descriptors, where the ring has {}",
                                            version, load_once(log.header_->desc_num), log.size()));
  }
  return log;
}

void PackedInflightLog::initialise() {
  for (std::uint16_t i = 0; i < size(); ++i) {
    store(entries_[i].inflight, std::uint8_t{0});
    store(entries_[i].next, static_cast<std::uint16_t>(i + 1));  // the last one's is no entry: the list's end
  }
  store(header_->free_head, std::uint16_t{0});
  store(header_->old_free_head, std::uint16_t{0});
  store(header_->used_idx, std::uint16_t{0});
  store(header_->old_used_idx, std::uint16_t{0});
  store(header_->used_wrap_counter, std::uint8_t{1});
  store(header_->old_used_wrap_counter, std::uint8_t{1});
  store(header_->desc_num, size());
}

bool PackedInflightLog::committed() const {
  const std::uint16_t index = load_once(header_->old_used_idx);
  const RingPosition old{index, load_once(header_->old_used_wrap_counter) != 0};
  if (index >= size()) return true;
  return (load_once(ring_[index].flags, std::memory_order_acquire) & kPositionFlags) != old.available_flags();
}

Result<std::vector<PackedInflightLog::Left>> PackedInflightLog::read(std::uint16_t head) {
  std::vector<bool> seen(size());
  // True if `index` is an entry that nobody else has.
  const auto claim = [&](std::uint16_t index) {
    if (index >= size() || seen[index]) return false;
    seen[index] = true;
    return true;
  };
  std::size_t found = 0;
  free_head_ = head;
  for (std::uint16_t index = head; index < size(); index = next_[index]) {
    if (!claim(index)) return std::unexpected(corrupt("a loop of free entries"));
    next_[index] = load_once(entries_[index].next);
    ++found;
  }

  std::vector<std::pair<std::uint64_t, Left>> chains;
  for (std::uint16_t i = 0; i < size(); ++i) {
    if (seen[i] || load_once(entries_[i].inflight) == 0) continue;
    Left chain{.entry = i, .parts = {}};
    std::uint16_t index = i;
    const std::uint16_t count = load_once(entries_[i].count);
    if (count == 0) return std::unexpected(corrupt("a chain of nothing"));
    for (std::uint16_t n = 0; n < count; ++n) {
      if (!claim(index)) return std::unexpected(corrupt("chains that share entries"));
      Entry& entry = entries_[index];
      chain.parts.push_back({.address = load_once(entry.address),
                             .length = load_once(entry.length),
                             .id = load_once(entry.id),
                             .flags = load_once(entry.flags)});
      last_[i] = index;
      next_[index] = load_once(entry.next);
      index = next_[index];
    }
    found += chain.parts.size();
    chains.emplace_back(load_once(entries_[i].counter), std::move(chain));
  }
  if (found != size()) return std::unexpected(corrupt("entries that are neither free nor in flight"));
  std::ranges::sort(chains, {}, &std::pair<std::uint64_t, Left>::first);
  if (!chains.empty()) counter_ = chains.back().first + 1;
  std::vector<Left> left;
  for (auto& [counter, chain] : chains) left.push_back(std::move(chain));
  return left;
}

// The predecessor was killed before the driver saw its last batch. What it wrote of it into the ring,
// all but the first descriptor, must not be seen either when the driver comes there.
void PackedInflightLog::roll_back(std::size_t in_flight) {
  const RingPosition old{load_once(header_->old_used_idx), load_once(header_->old_used_wrap_counter) != 0};
  const RingPosition used{load_once(header_->used_idx), load_once(header_->used_wrap_counter) != 0};
  std::size_t batch = used.index < size() ? (used.index + std::size_t{size()} - old.index) % size() : 0;
  if (batch == 0 && used.wrap != old.wrap) batch = size();
  // Beyond what is in flight the ring is the driver's: there, nothing was written.
  for (std::uint16_t i = 0; i < batch && batch <= in_flight; ++i) {
    const RingPosition place = old.after(i, size());
    store(ring_[place.index].flags, place.available_flags());
  }
  store(header_->used_idx, old.index);
  store(header_->used_wrap_counter, std::uint8_t{old.wrap});
}

Result<PackedInflightLog::Recovered> PackedInflightLog::recover(RingPosition used) {
  const bool batch = load_once(header_->used_idx) != load_once(header_->old_used_idx) ||
                     load_once(header_->used_wrap_counter) != load_once(header_->old_used_wrap_counter);
  const bool shown = batch && committed();
  const std::uint16_t free_head = load_once(shown ? header_->free_head : header_->old_free_head);
  Recovered recovered{.used = {}, .chains = TRY(read(free_head))};
  std::size_t in_flight = 0;
  for (const Left& chain : recovered.chains) in_flight += chain.parts.size();
  if (batch && !shown && load_once(header_->old_used_idx) < size()) roll_back(in_flight);

  if (!new_) {
    used = {load_once(header_->used_idx), load_once(header_->used_wrap_counter) != 0};
    if (used.index >= size()) return std::unexpected(corrupt("a used index beyond the ring"));
  }
  recovered.used = used;
  for (std::uint16_t index = free_head; index < size(); index = next_[index])
    store(entries_[index].inflight, std::uint8_t{0});
  store(header_->free_head, free_head);
  store(header_->used_idx, used.index);
  store(header_->used_wrap_counter, std::uint8_t{used.wrap});
  store(header_->old_free_head, free_head);
  store(header_->old_used_idx, used.index);
  store(header_->old_used_wrap_counter, std::uint8_t{used.wrap});
  store(header_->version, kVersion);  // from here on the region is to be trusted, not who gives it
  return recovered;
}

std::uint16_t PackedInflightLog::take(std::span<const PackedDescriptor> parts) {
  const std::uint16_t head = free_head_;
  std::uint16_t last = head;
  for (const PackedDescriptor& part : parts) {
    last = free_head_;
    Entry& entry = entries_[last];
    store(entry.address, part.address);
    store(entry.length, part.length);
    store(entry.flags, part.flags);
    store(entry.id, part.id);
    free_head_ = next_[last];
  }
  last_[head] = last;
  store(entries_[head].last, last);
  store(entries_[head].count, static_cast<std::uint16_t>(parts.size()));
  store(entries_[head].counter, counter_++);
  store(entries_[head].inflight, std::uint8_t{1});
  store(header_->free_head, free_head_);
  store(header_->old_free_head, free_head_);  // from here on it is in flight
  return head;
}

void PackedInflightLog::begin_batch(std::span<const std::uint16_t> entries, RingPosition used) {
  for (const std::uint16_t head : entries) {
    next_[last_[head]] = free_head_;
    store(entries_[last_[head]].next, free_head_);
    free_head_ = head;
    store(header_->free_head, free_head_);
  }
  used_ = used;
  store(header_->used_idx, used.index);
  store(header_->used_wrap_counter, std::uint8_t{used.wrap});
}

void PackedInflightLog::end_batch(std::span<const std::uint16_t> entries) {
  for (const std::uint16_t head : entries) store(entries_[head].inflight, std::uint8_t{0});
  store(header_->old_free_head, free_head_);
  store(header_->old_used_idx, used_.index);
  store(header_->old_used_wrap_counter, std::uint8_t{used_.wrap});
}

}  // namespace virtio
