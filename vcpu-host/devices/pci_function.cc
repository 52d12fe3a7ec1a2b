#include "vcpu-host/devices/pci_function.h"

#include <algorithm>

#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

// Configuration space header type 0.
constexpr std::size_t kCommand = 0x04;
constexpr std::size_t kStatus = 0x06;
constexpr std::size_t kCacheLine = 0x0c;
constexpr std::size_t kBars = 0x10;
constexpr std::size_t kInterruptLine = 0x3c;

constexpr std::uint16_t kMemoryDecode = 1u << 1;
constexpr std::uint16_t kBusMaster = 1u << 2;
// Memory decode, bus master, parity error response, SERR#, interrupt disable. There is no I/O BAR to decode.
constexpr std::uint16_t kCommandWritable = 0x0546;
constexpr std::uint16_t kHasCapabilities = 1u << 4;
constexpr std::uint32_t kBar64Bit = 2u << 1;

template <class T>
void put(std::span<std::byte> bytes, std::size_t offset, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes[offset + i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
}

template <class T>
T get(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace

PciFunction::PciFunction(const PciIdentity& identity) {
  put(config_, 0x00, identity.vendor);
  put(config_, 0x02, identity.device);
  put(config_, 0x08, identity.revision);
  put(config_, 0x09, static_cast<std::uint8_t>(identity.class_code));
  put(config_, 0x0a, static_cast<std::uint16_t>(identity.class_code >> 8));
  put(config_, 0x2c, identity.subsystem_vendor);
  put(config_, 0x2e, identity.subsystem);
  put(writable_, kCommand, kCommandWritable);
  put(writable_, kCacheLine, std::uint8_t{0xff});
  put(writable_, kInterruptLine, std::uint8_t{0xff});
}

void PciFunction::read_config(std::size_t offset, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
  if (offset >= kConfigBytes) return;
  const std::size_t size = std::min(data.size(), kConfigBytes - offset);
  config_reading(offset, size);
  std::ranges::copy(std::span(config_).subspan(offset, size), data.begin());
}

void PciFunction::write_config(std::size_t offset, std::span<const std::byte> data) {
  if (offset >= kConfigBytes) return;
  const std::size_t size = std::min(data.size(), kConfigBytes - offset);
  for (std::size_t i = 0; i < size; ++i) {
    const std::byte mask = writable_[offset + i];
    config_[offset + i] = (config_[offset + i] & ~mask) | (data[i] & mask);
  }
  update_bars();
  config_written(offset, size);
}

bool PciFunction::bus_master() const {
  return (get<std::uint16_t>(config_, kCommand) & kBusMaster) != 0;
}

void PciFunction::add_memory_bar(unsigned index, std::uint64_t bytes, BusDevice& device) {
  bars_.push_back({.index = index, .bytes = bytes, .device = &device, .mapped = std::nullopt});
  put(config_, kBars + 4 * index, kBar64Bit);
  put(writable_, kBars + 4 * index, ~(bytes - 1));  // what cannot be written tells the size (6.2.5.1)
}

std::uint64_t PciFunction::bar_address(const MemoryBar& bar) const {
  return get<std::uint64_t>(config_, kBars + 4 * bar.index) & ~(bar.bytes - 1);
}

void PciFunction::set_bar_address(const MemoryBar& bar, std::uint64_t address) {
  put(config_, kBars + 4 * bar.index, address | kBar64Bit);
}

bool PciFunction::place_bars(Bus& memory, std::uint64_t& next, std::uint64_t end) {
  for (const MemoryBar& bar : bars_) {
    const std::uint64_t address = (next + bar.bytes - 1) & ~(bar.bytes - 1);
    if (address > end || bar.bytes > end - address) return false;
    set_bar_address(bar, address);
    next = address + bar.bytes;
  }
  memory_ = &memory;
  update_bars();
  return true;
}

void PciFunction::update_bars() {
  if (memory_ == nullptr) return;
  const bool decodes = (get<std::uint16_t>(config_, kCommand) & kMemoryDecode) != 0;
  for (MemoryBar& bar : bars_) {
    // The bridge forwards its window alone: elsewhere a BAR is not seen, so none covers RAM or the APICs.
    const std::uint64_t address = bar_address(bar);
    const bool in_window = address >= layout::kPciWindow && address < layout::kPciWindowEnd &&
                           bar.bytes <= layout::kPciWindowEnd - address;
    std::optional<ipc::GuestAddress> wanted;
    if (decodes && in_window) wanted = ipc::GuestAddress{address};
    if (wanted == bar.mapped) continue;
    if (bar.mapped) memory_->remove(*bar.device);
    if (wanted && !memory_->add(address, bar.bytes, *bar.device)) wanted.reset();  // over another function's
    if (wanted == bar.mapped) continue;
    bar.mapped = wanted;
    bar_moved(bar.index, wanted);
  }
}

std::uint8_t PciFunction::add_capability(std::uint8_t id, std::span<const std::byte> body,
                                         std::span<const std::byte> writable) {
  const std::size_t offset = capabilities_end_;
  config_[last_next_pointer_] = static_cast<std::byte>(offset);
  config_[offset] = static_cast<std::byte>(id);
  std::ranges::copy(body, config_.begin() + static_cast<std::ptrdiff_t>(offset) + 2);
  std::ranges::copy(writable, writable_.begin() + static_cast<std::ptrdiff_t>(offset) + 2);
  last_next_pointer_ = offset + 1;
  capabilities_end_ = (offset + 2 + body.size() + 3) & ~std::size_t{3};
  put(config_, kStatus, kHasCapabilities);
  return static_cast<std::uint8_t>(offset);
}

}  // namespace vcpu_host
