#include "vcpu-host/devices/pci.h"

#include <algorithm>

namespace vcpu_host {
namespace {

constexpr PciIdentity kHostBridge{
    .vendor = 0x8086, .device = 0x29c0, .revision = 0, .class_code = 0x060000, .subsystem_vendor = 0, .subsystem = 0};

constexpr std::uint64_t kAddressPort = 0;  // offsets from layout::kPciAddress
constexpr std::uint64_t kResetPort = layout::kReset - layout::kPciAddress;
constexpr std::uint64_t kDataPort = layout::kPciData - layout::kPciAddress;

constexpr std::uint32_t kAddressEnable = 1u << 31;
constexpr std::uint32_t kAddressWritable = 0x80fffffc;
constexpr std::uint64_t kFunctionBytes = 4096;  // of ECAM

void all_ones(std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0xff});
}

}  // namespace

PciBus::PciBus(Bus& memory, BusDevice& reset_control)
    : memory_(memory), host_bridge_(kHostBridge), ports_(*this, reset_control), ecam_(*this) {
  slots_[0] = &host_bridge_;
}

bool PciBus::add(unsigned slot, PciFunction& function) {
  if (slot == 0 || slot >= kSlots || slots_[slot] != nullptr) return false;
  if (!function.place_bars(memory_, next_bar_, layout::kPciWindowEnd)) return false;
  slots_[slot] = &function;
  return true;
}

// `device_function`: bits 7 to 3 are the slot, 2 to 0 the function.
PciFunction* PciBus::function(unsigned device_function) const {
  return device_function % 8 == 0 && device_function / 8 < kSlots ? slots_[device_function / 8] : nullptr;
}

PciFunction* PciBus::Ports::selected() const {
  const std::uint32_t bus = (address_ >> 16) & 0xff;
  if ((address_ & kAddressEnable) == 0 || bus != 0) return nullptr;
  return bus_.function((address_ >> 8) & 0xff);
}

void PciBus::Ports::read(std::uint64_t offset, std::span<std::byte> data) {
  all_ones(data);
  if (offset == kAddressPort && data.size() == 4) {
    for (std::size_t i = 0; i < 4; ++i) data[i] = static_cast<std::byte>(address_ >> (8 * i));
  } else if (offset == kResetPort && data.size() == 1) {
    reset_control_.read(0, data);
  } else if (offset >= kDataPort) {
    if (PciFunction* function = selected()) function->read_config((address_ & 0xfc) + (offset - kDataPort), data);
  }
}

void PciBus::Ports::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset == kAddressPort && data.size() == 4) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(data[i]) << (8 * i);
    address_ = value & kAddressWritable;
  } else if (offset == kResetPort && data.size() == 1) {
    reset_control_.write(0, data);
  } else if (offset >= kDataPort) {
    if (PciFunction* function = selected()) function->write_config((address_ & 0xfc) + (offset - kDataPort), data);
  }
}

PciFunction* PciBus::Ecam::at(std::uint64_t offset, std::size_t size) const {
  if (size > kFunctionBytes - offset % kFunctionBytes) return nullptr;  // crosses into the next function
  const std::uint64_t number = offset / kFunctionBytes;
  return number < kSlots * 8 ? bus_.function(static_cast<unsigned>(number)) : nullptr;
}

void PciBus::Ecam::read(std::uint64_t offset, std::span<std::byte> data) {
  all_ones(data);
  if (PciFunction* function = at(offset, data.size())) function->read_config(offset % kFunctionBytes, data);
}

void PciBus::Ecam::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (PciFunction* function = at(offset, data.size())) function->write_config(offset % kFunctionBytes, data);
}

}  // namespace vcpu_host
