// The two ways in which a PC is asked to reset itself by a port.
#pragma once

#include <cstdint>
#include <functional>

#include "vcpu-host/bus.h"

namespace vcpu_host {

// The chipset's reset control register: bit 2 going from 0 to 1 resets. One port, layout::kReset, which lies
// inside the PCI address register: PciBus has it.
class ResetControl final : public BusDevice {
 public:
  explicit ResetControl(std::function<void()> reset) : reset_(std::move(reset)) {}
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::function<void()> reset_;
  std::byte value_{};
};

// The command port of a keyboard controller that is not there, but for its reset command (0xfe). One port,
// layout::kKeyboardCommand.
class KeyboardReset final : public BusDevice {
 public:
  explicit KeyboardReset(std::function<void()> reset) : reset_(std::move(reset)) {}
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  std::function<void()> reset_;
};

}  // namespace vcpu_host
