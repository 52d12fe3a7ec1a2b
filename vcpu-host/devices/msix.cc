#include "vcpu-host/devices/msix.h"

#include <algorithm>

#include "vcpu-host/devices/event.h"

namespace vcpu_host {
namespace {

constexpr std::uint16_t kEnable = 1u << 15;  // message control
constexpr std::uint16_t kFunctionMask = 1u << 14;

// Words of a table entry.
constexpr unsigned kAddressLow = 0;
constexpr unsigned kAddressHigh = 1;
constexpr unsigned kData = 2;
constexpr unsigned kVectorControl = 3;
constexpr std::uint32_t kVectorMask = 1;

bool well_formed(std::size_t offset, std::size_t size, std::size_t limit) {
  return (size == 4 || size == 8) && offset % size == 0 && offset < limit && size <= limit - offset;
}

void put_word(std::span<std::byte> data, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) data[i] = static_cast<std::byte>(value >> (8 * i));
}

}  // namespace

ipc::Result<std::unique_ptr<Msix>> Msix::create(Hypervisor& hypervisor, std::uint16_t vectors) {
  std::unique_ptr<Msix> msix(new Msix(hypervisor));
  for (std::uint16_t i = 0; i < vectors; ++i)
    msix->vectors_.push_back({.gsi = TRY(hypervisor.allocate_msi()), .message = {}, .routed = {}});
  return msix;
}

std::array<std::byte, 10> Msix::capability(unsigned bar, std::uint32_t table, std::uint32_t pending) const {
  std::array<std::byte, 10> body{};
  const std::size_t last = vectors_.size() - 1;  // message control has the table's size less one
  body[0] = static_cast<std::byte>(last);
  body[1] = static_cast<std::byte>(last >> 8);
  put_word(std::span(body).subspan(2), table | bar);
  put_word(std::span(body).subspan(6), pending | bar);
  return body;
}

void Msix::set_control(std::uint16_t control, bool may_send) {
  enabled_ = (control & kEnable) != 0;
  sending_ = enabled_ && (control & kFunctionMask) == 0 && may_send;
  for (std::size_t i = 0; i < vectors_.size(); ++i) update(static_cast<std::uint16_t>(i));
}

void Msix::bind(const ipc::UniqueFd& event, std::uint16_t vector) {
  bindings_.push_back({.event = &event, .vector = vector});
  if (vectors_[vector].live) connect(bindings_.back());
}

void Msix::unbind(const ipc::UniqueFd& event) {
  for (Binding& binding : bindings_)
    if (binding.event == &event) disconnect(binding);
  std::erase_if(bindings_, [&](const Binding& binding) { return binding.event == &event; });
}

void Msix::connect(Binding& binding) {
  if (binding.connected) return;
  binding.connected = hypervisor_.connect_interrupt(*binding.event, vectors_[binding.vector].gsi).has_value();
}

void Msix::disconnect(Binding& binding) {
  if (!binding.connected) return;
  binding.connected = false;
  // Refused only for what is not connected: then nothing interrupts, which is what was asked for.
  static_cast<void>(hypervisor_.disconnect_interrupt(*binding.event, vectors_[binding.vector].gsi));
}

// A vector is live, its events connected, exactly while it is unmasked and the hypervisor takes its message.
void Msix::update(std::uint16_t number) {
  Vector& vector = vectors_[number];
  bool live = sending_ && !vector.masked;
  if (live && vector.routed != vector.message) {
    live = hypervisor_.route_msi(vector.gsi, vector.message).has_value();
    vector.routed = live ? std::optional(vector.message) : std::nullopt;
  }
  if (live == vector.live) return;
  vector.live = live;
  for (Binding& binding : bindings_)
    if (binding.vector == number) live ? connect(binding) : disconnect(binding);
}

void Msix::read_table(std::size_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  if (!well_formed(offset, data.size(), table_bytes())) return;
  for (std::size_t i = 0; i < data.size(); i += 4) {
    const Vector& vector = vectors_[(offset + i) / kEntryBytes];
    const std::array<std::uint32_t, 4> words{static_cast<std::uint32_t>(vector.message.address),
                                             static_cast<std::uint32_t>(vector.message.address >> 32),
                                             vector.message.data, vector.masked ? kVectorMask : 0};
    put_word(data.subspan(i), words[(offset + i) % kEntryBytes / 4]);
  }
}

void Msix::write_table(std::size_t offset, std::span<const std::byte> data) {
  if (!well_formed(offset, data.size(), table_bytes())) return;
  for (std::size_t i = 0; i < data.size(); i += 4) {
    std::uint32_t value = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) value |= std::to_integer<std::uint32_t>(data[i + byte]) << (8 * byte);
    write_entry(vectors_[(offset + i) / kEntryBytes], (offset + i) % kEntryBytes / 4, value);
  }
  update(static_cast<std::uint16_t>(offset / kEntryBytes));
}

void Msix::write_entry(Vector& vector, unsigned word, std::uint32_t value) {
  std::uint64_t& address = vector.message.address;
  if (word == kAddressLow) address = (address & ~std::uint64_t{0xffffffff}) | (value & ~std::uint32_t{3});
  if (word == kAddressHigh) address = (address & 0xffffffff) | std::uint64_t{value} << 32;
  if (word == kData) vector.message.data = value;
  if (word == kVectorControl) vector.masked = (value & kVectorMask) != 0;
}

// An event that is not connected keeps what was written to it: that is the pending bit.
void Msix::read_pending(std::size_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  if (!well_formed(offset, data.size(), pending_bytes())) return;
  for (const Binding& binding : bindings_) {
    const std::size_t byte = binding.vector / 8;
    if (byte < offset || byte - offset >= data.size()) continue;
    if (!binding.connected && is_signalled(*binding.event)) data[byte - offset] |= std::byte{1} << (binding.vector % 8);
  }
}

}  // namespace vcpu_host
