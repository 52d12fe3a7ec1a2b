#include "ipc/guest_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace ipc {

std::size_t GuestBuffer::copy_to(std::span<std::byte> out) const {
  const std::size_t length = std::min(out.size(), bytes_.size());
  if (length > 0) std::memcpy(out.data(), bytes_.data(), length);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler may not fetch the source again
  return length;
}

std::size_t GuestBuffer::copy_from(std::span<const std::byte> in) const {
  const std::size_t length = std::min(in.size(), bytes_.size());
  if (length > 0) std::memcpy(bytes_.data(), in.data(), length);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return length;
}

void GuestBuffer::fill(std::byte value) const {
  if (!bytes_.empty()) std::memset(bytes_.data(), std::to_integer<int>(value), bytes_.size());
}

bool GuestMemory::add_region(GuestAddress base, std::uint64_t length, Mapping mapping, std::uint64_t offset) {
  const std::span<std::byte> all = mapping.bytes();
  if (length == 0 || offset > all.size() || length > all.size() - offset) return false;
  if (length - 1 > std::numeric_limits<std::uint64_t>::max() - base.value) return false;
  const bool overlaps = std::ranges::any_of(regions_, [&](const Region& region) {
    return base.value < region.base.value ? region.base.value - base.value < length
                                          : base.value - region.base.value < region.bytes.size();
  });
  if (overlaps) return false;
  regions_.push_back({base, all.subspan(offset, length), std::move(mapping)});
  return true;
}

bool GuestMemory::remove_region(GuestAddress base, std::uint64_t length) {
  return std::erase_if(regions_,
                       [&](const Region& region) { return region.base == base && region.bytes.size() == length; }) > 0;
}

std::vector<iovec> GuestMemory::mapped() const {
  std::vector<iovec> ranges;
  for (const Region& region : regions_) ranges.push_back({region.bytes.data(), region.bytes.size()});
  return ranges;
}

GuestAddress GuestMemory::address_of(const GuestBuffer& buffer) const {
  const auto place = reinterpret_cast<std::uintptr_t>(buffer.bytes_.data());
  for (const Region& region : regions_) {
    const auto start = reinterpret_cast<std::uintptr_t>(region.bytes.data());
    if (place >= start && place - start < region.bytes.size())
      return GuestAddress{region.base.value + (place - start)};  // add_region() refused what wraps
  }
  std::abort();  // of another GuestMemory
}

}  // namespace ipc
