// PCI bus 0: a host bridge, and functions behind both ways to configure them.
#pragma once

#include <array>
#include <cstdint>

#include "vcpu-host/bus.h"
#include "vcpu-host/devices/pci_function.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {

class PciBus {
 public:
  static constexpr unsigned kSlots = 32;
  static constexpr std::uint64_t kPorts = 8;  // at layout::kPciAddress

  // BARs appear on `memory`; `reset_control` answers at layout::kReset. Both are borrowed.
  PciBus(Bus& memory, BusDevice& reset_control);

  // Puts `function` (borrowed) at function 0 of `slot`, 1 to 31, and gives its BARs addresses in the PCI
  // window. False if the slot is taken or the window is full.
  bool add(unsigned slot, PciFunction& function);

  BusDevice& ports() { return ports_; }  // for layout::kPciAddress, kPorts
  BusDevice& ecam() { return ecam_; }    // for layout::kEcam, layout::kEcamBytes

 private:
  // Configuration mechanism #1. The address register is there for four-byte accesses alone; a byte at 0xcf9
  // inside it is the reset control register, as real chipsets have it.
  class Ports final : public BusDevice {
   public:
    Ports(PciBus& bus, BusDevice& reset_control) : bus_(bus), reset_control_(reset_control) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    PciFunction* selected() const;
    PciBus& bus_;
    BusDevice& reset_control_;
    std::uint32_t address_ = 0;
  };

  // The enhanced mechanism: 4 KiB of memory for each function.
  class Ecam final : public BusDevice {
   public:
    explicit Ecam(PciBus& bus) : bus_(bus) {}
    void read(std::uint64_t offset, std::span<std::byte> data) override;
    void write(std::uint64_t offset, std::span<const std::byte> data) override;

   private:
    PciFunction* at(std::uint64_t offset, std::size_t size) const;
    PciBus& bus_;
  };

  PciFunction* function(unsigned device_function) const;

  Bus& memory_;
  PciFunction host_bridge_;
  std::array<PciFunction*, kSlots> slots_{};
  std::uint64_t next_bar_ = layout::kPciWindow;
  Ports ports_;
  Ecam ecam_;
};

}  // namespace vcpu_host
