// One PCI function: its configuration space, and the memory BARs that come and go on the bus with it
// (PCI Local Bus 3.0, 6).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ipc/guest_memory.h"
#include "vcpu-host/bus.h"

namespace vcpu_host {

struct PciIdentity {
  std::uint16_t vendor;
  std::uint16_t device;
  std::uint8_t revision;
  std::uint32_t class_code;  // 24 bits: base class, subclass, programming interface
  std::uint16_t subsystem_vendor;
  std::uint16_t subsystem;
};

class PciFunction {
 public:
  static constexpr std::size_t kConfigBytes = 256;

  explicit PciFunction(const PciIdentity& identity);
  virtual ~PciFunction() = default;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;

  // Accesses of any size and alignment inside the function's 4 KiB; beyond kConfigBytes all is 0.
  void read_config(std::size_t offset, std::span<std::byte> data);
  void write_config(std::size_t offset, std::span<const std::byte> data);

  // Gives the BARs addresses from `next` on (which moves behind them) and lets them appear on `memory`
  // (borrowed) while memory decode is on. False if they don't fit before `end`. Called by PciBus.
  bool place_bars(Bus& memory, std::uint64_t& next, std::uint64_t end);

 protected:
  // A 64-bit memory BAR of `bytes` (a power of two, at least 4 KiB) in the registers `index` (even) and index + 1.
  void add_memory_bar(unsigned index, std::uint64_t bytes, BusDevice& device);

  // Appends a capability: `body` follows its id and next pointer; the bits set in `writable` (as long as `body`
  // or shorter) can be written. Returns its offset.
  std::uint8_t add_capability(std::uint8_t id, std::span<const std::byte> body, std::span<const std::byte> writable);

  std::span<std::byte, kConfigBytes> config() { return config_; }
  bool bus_master() const;

  // Before [offset, offset + size) is read; after it was written.
  virtual void config_reading(std::size_t /*offset*/, std::size_t /*size*/) {}
  virtual void config_written(std::size_t /*offset*/, std::size_t /*size*/) {}
  // BAR `index` appeared at another address, or (nothing) disappeared.
  virtual void bar_moved(unsigned /*index*/, std::optional<ipc::GuestAddress> /*address*/) {}

 private:
  struct MemoryBar {
    unsigned index;
    std::uint64_t bytes;
    BusDevice* device;
    std::optional<ipc::GuestAddress> mapped;
  };
  std::uint64_t bar_address(const MemoryBar& bar) const;
  void set_bar_address(const MemoryBar& bar, std::uint64_t address);
  void update_bars();

  Bus* memory_ = nullptr;
  std::array<std::byte, kConfigBytes> config_{};
  std::array<std::byte, kConfigBytes> writable_{};
  std::vector<MemoryBar> bars_;
  std::size_t capabilities_end_ = 0x40;
  std::size_t last_next_pointer_ = 0x34;
};

}  // namespace vcpu_host
