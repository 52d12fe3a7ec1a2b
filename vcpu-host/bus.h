// Dispatch of a guest's port and memory accesses to the device that answers at the address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vcpu_host {

// What sits at a range of ports or guest-physical addresses. All calls come from the event loop's
// thread. `offset` is relative to the range; offset + data.size() stays inside it; sizes are those
// that the guest's instruction had (1, 2, 4 or 8 bytes), at any alignment.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

class Bus {
 public:
  // Puts `device` (borrowed; it outlives the bus or is removed) at [base, base + length). False if the
  // range is empty, wraps or overlaps another.
  bool add(std::uint64_t base, std::uint64_t length, BusDevice& device);
  void remove(const BusDevice& device);  // from every range it has

  // An access that no device answers, or that leaves a device's range, reads as all ones and writes nothing.
  void read(std::uint64_t address, std::span<std::byte> data) const;
  void write(std::uint64_t address, std::span<const std::byte> data) const;

 private:
  struct Range {
    std::uint64_t base;
    std::uint64_t length;
    BusDevice* device;
  };
  const Range* find(std::uint64_t address, std::size_t size) const;
  std::vector<Range> ranges_;  // sorted by base
};

}  // namespace vcpu_host
