// Accesses of a guest's instructions to a device.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "vcpu-host/bus.h"

namespace vcpu_host {

inline std::uint64_t get(BusDevice& device, std::uint64_t offset, std::size_t size = 1) {
  std::array<std::byte, 8> bytes{};
  device.read(offset, std::span(bytes).first(size));
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

inline void put(BusDevice& device, std::uint64_t offset, std::uint64_t value, std::size_t size = 1) {
  device.write(offset, std::as_bytes(std::span(&value, 1)).first(size));
}

}  // namespace vcpu_host
