// What the devices ask of KVM: interrupts and doorbells that work without this process.
// Implemented by kvm/; a fake takes its place in unit tests.
#pragma once

#include <cstdint>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"

namespace vcpu_host {

struct Gsi {
  std::uint32_t value;
  friend bool operator==(const Gsi&, const Gsi&) = default;
};

struct MsiMessage {
  std::uint64_t address = 0;
  std::uint32_t data = 0;
  friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  // A GSI for one MSI-X vector. ENOSPC when there are no more.
  virtual ipc::Result<Gsi> allocate_msi() = 0;
  // What the GSI sends from now on.
  virtual ipc::Result<> route_msi(Gsi gsi, const MsiMessage& message) = 0;

  // A write to `event` raises `gsi` from now on, in the kernel (KVM_IRQFD). What was written before and
  // not yet read is raised at once: an eventfd that is not connected is its own pending bit.
  virtual ipc::Result<> connect_interrupt(const ipc::UniqueFd& event, Gsi gsi) = 0;
  virtual ipc::Result<> disconnect_interrupt(const ipc::UniqueFd& event, Gsi gsi) = 0;
  // The same for a level-triggered GSI: the guest's end of interrupt lowers the line and writes `resample`.
  virtual ipc::Result<> connect_level_interrupt(const ipc::UniqueFd& event, const ipc::UniqueFd& resample, Gsi gsi) = 0;

  // A guest's write of any size to exactly this address writes `kick` from now on, in the kernel (KVM_IOEVENTFD).
  virtual ipc::Result<> attach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) = 0;
  virtual ipc::Result<> detach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) = 0;
};

}  // namespace vcpu_host
