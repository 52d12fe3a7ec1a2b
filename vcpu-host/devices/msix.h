// MSI-X: the vector table and pending bits in a BAR, and the interrupts that they steer into the guest
// without this process (PCI Local Bus 3.0, 6.8.2).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/hypervisor.h"

namespace vcpu_host {

class Msix {
 public:
  static constexpr std::uint8_t kCapabilityId = 0x11;
  static constexpr std::size_t kControlOffset = 2;  // of message control in the capability
  static constexpr std::size_t kEntryBytes = 16;

  // `vectors`: 1 to 2048. Takes a GSI for each.
  static ipc::Result<std::unique_ptr<Msix>> create(Hypervisor& hypervisor, std::uint16_t vectors);

  std::uint16_t vectors() const { return static_cast<std::uint16_t>(vectors_.size()); }
  std::size_t table_bytes() const { return vectors_.size() * kEntryBytes; }
  std::size_t pending_bytes() const { return (vectors_.size() + 63) / 64 * 8; }

  // The capability's body, for PciFunction::add_capability, with table and pending bits in BAR `bar` at these
  // offsets (multiples of 8); and which of its bits can be written.
  std::array<std::byte, 10> capability(unsigned bar, std::uint32_t table, std::uint32_t pending) const;
  static constexpr std::array<std::byte, 2> kCapabilityWritable{std::byte{0x00}, std::byte{0xc0}};

  // Message control as the guest wrote it, and whether the function may send (bus master).
  void set_control(std::uint16_t control, bool may_send);
  bool enabled() const { return enabled_; }

  // From now on `event` (borrowed until unbind) interrupts through `vector`, which is below vectors(). Many
  // events may share a vector; an event is bound once.
  void bind(const ipc::UniqueFd& event, std::uint16_t vector);
  void unbind(const ipc::UniqueFd& event);

  // Accesses inside the table and the pending bits. Of 4 or 8 bytes, aligned; others read 0 and write nothing.
  void read_table(std::size_t offset, std::span<std::byte> data) const;
  void write_table(std::size_t offset, std::span<const std::byte> data);
  void read_pending(std::size_t offset, std::span<std::byte> data) const;

 private:
  struct Vector {
    Gsi gsi;
    MsiMessage message;
    bool masked = true;
    std::optional<MsiMessage> routed;  // what the GSI sends
    bool live = false;                 // unmasked, and its events are connected
  };
  struct Binding {
    const ipc::UniqueFd* event;
    std::uint16_t vector;
    bool connected = false;
  };

  explicit Msix(Hypervisor& hypervisor) : hypervisor_(hypervisor) {}
  void write_entry(Vector& vector, unsigned word, std::uint32_t value);
  void update(std::uint16_t number);
  void connect(Binding& binding);
  void disconnect(Binding& binding);

  Hypervisor& hypervisor_;
  std::vector<Vector> vectors_;
  std::vector<Binding> bindings_;
  bool enabled_ = false;  // by the guest
  bool sending_ = false;  // enabled, not masked as a whole, and bus master
};

}  // namespace vcpu_host
