#include "vcpu-host/bus.h"

#include <algorithm>
#include <limits>

namespace vcpu_host {

bool Bus::add(std::uint64_t base, std::uint64_t length, BusDevice& device) {
  if (length == 0 || length - 1 > std::numeric_limits<std::uint64_t>::max() - base) return false;
  const auto next = std::ranges::upper_bound(ranges_, base, {}, &Range::base);
  if (next != ranges_.end() && next->base - base < length) return false;
  if (next != ranges_.begin() && base - std::prev(next)->base < std::prev(next)->length) return false;
  ranges_.insert(next, {base, length, &device});
  return true;
}

void Bus::remove(const BusDevice& device) {
  std::erase_if(ranges_, [&](const Range& range) { return range.device == &device; });
}

const Bus::Range* Bus::find(std::uint64_t address, std::size_t size) const {
  const auto next = std::ranges::upper_bound(ranges_, address, {}, &Range::base);
  if (next == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(next);
  const std::uint64_t offset = address - range.base;
  return offset < range.length && size <= range.length - offset ? &range : nullptr;
}

void Bus::read(std::uint64_t address, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0xff});
  if (const Range* range = find(address, data.size())) range->device->read(address - range->base, data);
}

void Bus::write(std::uint64_t address, std::span<const std::byte> data) const {
  if (const Range* range = find(address, data.size())) range->device->write(address - range->base, data);
}

}  // namespace vcpu_host
