// What the two layouts of a virtqueue have in common.
#pragma once

#include <cstdint>
#include <expected>

#include "backends/virtio/chain.h"
#include "ipc/guest_memory.h"

namespace virtio {

struct RingAddresses {  // guest-physical
  ipc::GuestAddress descriptors;
  ipc::GuestAddress available;  // packed: the driver's event suppression structure
  ipc::GuestAddress used;       // packed: the device's
};

struct RingFeatures {
  bool indirect = false;   // VIRTIO_F_INDIRECT_DESC
  bool event_idx = false;  // VIRTIO_F_EVENT_IDX
};

// What next() found.
struct Head {
  std::uint16_t index;                    // below the queue's size; give it back by complete(), exactly once
  std::expected<void, ChainError> chain;  // the chain is in the caller's Chain, or was refused
};

// A descriptor of a packed ring (virtio 1.2, 2.8.13), little-endian as every machine that this runs on.
struct PackedDescriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t id;
  std::uint16_t flags;
};
static_assert(sizeof(PackedDescriptor) == 16);

// Flags of descriptors: of both layouts, then of the packed one (2.7.5, 2.8.1).
inline constexpr std::uint16_t kDescNext = 1 << 0;
inline constexpr std::uint16_t kDescWrite = 1 << 1;
inline constexpr std::uint16_t kDescIndirect = 1 << 2;
inline constexpr std::uint16_t kDescAvailable = 1 << 7;
inline constexpr std::uint16_t kDescUsed = 1 << 15;

// A place in a packed ring, with the wrap counter that belongs to it (2.8.1).
struct RingPosition {
  std::uint16_t index = 0;  // below the ring's size
  bool wrap = true;

  // `count` descriptors further on, at most the ring's size.
  RingPosition after(std::uint16_t count, std::uint16_t size) const {
    const std::uint32_t sum = std::uint32_t{index} + count;
    return sum < size ? RingPosition{static_cast<std::uint16_t>(sum), wrap}
                      : RingPosition{static_cast<std::uint16_t>(sum - size), !wrap};
  }
  // Half of SET_VRING_BASE's number for a packed ring: 15 bits of index, then the wrap counter.
  std::uint16_t encode() const { return static_cast<std::uint16_t>(index | (wrap ? 0x8000 : 0)); }
  static RingPosition decode(std::uint16_t half) {
    return {static_cast<std::uint16_t>(half & 0x7fff), (half & 0x8000) != 0};
  }
  // What AVAIL and USED are in a descriptor that the driver made available, or that the device used.
  std::uint16_t available_flags() const { return wrap ? kDescAvailable : kDescUsed; }
  std::uint16_t used_flags() const {
    return wrap ? static_cast<std::uint16_t>(kDescAvailable | kDescUsed) : std::uint16_t{0};
  }
  bool operator==(const RingPosition&) const = default;
};
inline constexpr std::uint16_t kPositionFlags = kDescAvailable | kDescUsed;

// Appends the buffer that a descriptor names to `chain`, if it is one.
inline std::expected<void, ChainError> append_buffer(const ipc::GuestMemory& memory, Chain& chain,
                                                     std::uint64_t address, std::uint32_t length, bool device_writes) {
  const auto buffer = memory.slice(ipc::GuestAddress{address}, length);
  if (!buffer) return std::unexpected(ChainError::BadAddress);
  if (length == 0) return std::unexpected(ChainError::EmptyBuffer);
  if (chain.append(*buffer, device_writes)) [[likely]]
    return {};
  return std::unexpected(chain.full() ? ChainError::TooLong : ChainError::BadOrder);
}

}  // namespace virtio
