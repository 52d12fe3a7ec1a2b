// A ring and guest memory as a hostile driver would write them, for the fuzz targets of both layouts.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "backends/virtio/queue.h"
#include "tests/support/fake_driver.h"

namespace ring_fuzz {

inline constexpr std::size_t kRam = 16 << 10;
inline constexpr std::uint16_t kSize = 16;
// Descriptors, available ring or driver's events, used ring or device's, then buffers and indirect tables.
inline constexpr virtio::RingAddresses kRings{{0}, {16 * kSize}, {512}};
inline constexpr virtio::RingFeatures kFeatures{.indirect = true, .event_idx = true};
inline constexpr std::uint32_t kFreshPacked = 0x8000'8000;

inline void require(bool holds) {
  if (!holds) std::abort();
}

// Guest memory from address 0 on, and this process's own view of it as the driver's.
struct Ram {
  Ram() {
    auto mapping = ipc::Mapping::of(file, 0, kRam, ipc::Access::ReadWrite);
    require(mapping && memory.add_region({0}, kRam, std::move(*mapping)));
  }
  void fill(std::span<const std::uint8_t> bytes) const {
    std::ranges::fill(driver.bytes(), std::byte{0});
    if (!bytes.empty()) std::memcpy(driver.bytes().data(), bytes.data(), std::min(bytes.size(), kRam));
  }
  ipc::UniqueFd file = support::make_memfd(kRam, support::kSeals);
  ipc::Mapping driver = ipc::Mapping::of(file, 0, kRam, ipc::Access::ReadWrite).value();
  ipc::GuestMemory memory;
};

inline std::optional<virtio::Queue> make_queue(const Ram& ram, support::Layout layout, std::uint32_t position,
                                               std::span<std::byte> region) {
  if (layout == support::Layout::Packed) {
    auto queue = virtio::PackedQueue::create(ram.memory, kSize, kRings, kFeatures, position);
    if (!queue || (!region.empty() && !queue->resume(region))) return std::nullopt;
    return virtio::Queue(std::move(*queue));
  }
  auto queue = virtio::SplitQueue::create(ram.memory, kSize, kRings, kFeatures, static_cast<std::uint16_t>(position));
  if (!queue) return std::nullopt;
  if (!region.empty()) {
    auto log = virtio::InflightLog::attach(region, kSize);
    if (!log) return std::nullopt;
    queue->resume(std::move(*log));
  }
  return virtio::Queue(std::move(*queue));
}

// A device that completes in the order that `choices` tells, and holds it against what a queue promises.
class Device {
 public:
  Device(const Ram& ram, virtio::Queue queue) : ram_(ram), queue_(std::move(queue)) {}

  // False when the ring is broken.
  bool step(std::uint8_t choice) {
    switch (choice % 4) {
      case 0:
      case 1:
        return take();
      case 2:
        if (!heads_.empty()) complete(choice / 4 % heads_.size());
        return true;
      default:
        (void)queue_.publish();
        queue_.suppress_kicks();
        (void)queue_.request_kicks();
        return true;
    }
  }
  void finish() {
    while (!heads_.empty()) complete(0);
    (void)queue_.publish();
    require(queue_.in_flight() == 0);
  }

 private:
  bool take() {
    const auto head = queue_.next(chain_);
    if (!head) return false;
    if (!*head) return true;
    const std::uint16_t index = (**head).index;
    require(index < kSize && std::ranges::find(heads_, index) == heads_.end());
    heads_.push_back(index);
    require(queue_.in_flight() == heads_.size() && heads_.size() <= kSize);
    if (!(**head).chain) return true;
    std::uint64_t bytes = 0;
    for (const auto& buffers : {chain_.readable(), chain_.writable()}) {
      for (const ipc::GuestBuffer& buffer : buffers) {
        require(buffer.size() > 0 && buffer.size() <= kRam);
        require(ram_.memory.address_of(buffer).value <= kRam - buffer.size());
        bytes += buffer.size();
      }
    }
    require(bytes == chain_.readable_bytes() + chain_.writable_bytes());
    return true;
  }
  void complete(std::size_t which) {
    queue_.complete(heads_[which], 1);
    heads_.erase(heads_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  const Ram& ram_;
  virtio::Queue queue_;
  virtio::Chain chain_;
  std::vector<std::uint16_t> heads_;
};

// The input: 32 steps of the device, then memory.
inline void run_ring(support::Layout layout, std::uint32_t position, std::span<const std::uint8_t> input) {
  static const Ram ram;
  const auto steps = input.first(std::min<std::size_t>(input.size(), 32));
  ram.fill(input.subspan(steps.size()));
  auto queue = make_queue(ram, layout, position, {});
  if (!queue) return;
  Device device(ram, std::move(*queue));
  for (const std::uint8_t choice : steps)
    if (!device.step(choice)) break;
  device.finish();
}

}  // namespace ring_fuzz
