// Feature bits that belong to no device type (virtio 1.2, 6).
#pragma once

#include <cstdint>

namespace virtio {

constexpr std::uint64_t feature_bit(unsigned number) {
  return std::uint64_t{1} << number;
}

inline constexpr std::uint64_t kLogAll = feature_bit(26);        // VHOST_F_LOG_ALL, of the front end alone
inline constexpr std::uint64_t kIndirectDesc = feature_bit(28);  // VIRTIO_F_INDIRECT_DESC
inline constexpr std::uint64_t kEventIdx = feature_bit(29);      // VIRTIO_F_EVENT_IDX
inline constexpr std::uint64_t kVersion1 = feature_bit(32);      // VIRTIO_F_VERSION_1
inline constexpr std::uint64_t kRingPacked = feature_bit(34);    // VIRTIO_F_RING_PACKED

}  // namespace virtio
