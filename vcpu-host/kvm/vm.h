// The VM as KVM has it: memory slots, interrupt controllers and routes, doorbells.
#pragma once

#include <map>
#include <vector>

#include "vcpu-host/hypervisor.h"
#include "vcpu-host/kvm/api.h"

namespace vcpu_host {

class Vm final : public Hypervisor {
 public:
  // Makes the VM with its in-kernel PIC, IOAPIC and PIT, and `memory` (which outlives it) as its RAM of
  // `ram_bytes`. `kvm` is closed on return: it is lent for this one call.
  static ipc::Result<Vm> create(ipc::UniqueFd kvm, const ipc::GuestMemory& memory, std::uint64_t ram_bytes);

  const ipc::UniqueFd& fd() const { return fd_; }
  ipc::Result<bool> has(int capability) const;  // KVM_CAP_…

  ipc::Result<Gsi> allocate_msi() override;
  ipc::Result<> route_msi(Gsi gsi, const MsiMessage& message) override;
  ipc::Result<> connect_interrupt(const ipc::UniqueFd& event, Gsi gsi) override;
  ipc::Result<> disconnect_interrupt(const ipc::UniqueFd& event, Gsi gsi) override;
  ipc::Result<> connect_level_interrupt(const ipc::UniqueFd& event, const ipc::UniqueFd& resample, Gsi gsi) override;
  ipc::Result<> attach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) override;
  ipc::Result<> detach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) override;

 private:
  explicit Vm(ipc::UniqueFd fd) : fd_(std::move(fd)) {}
  ipc::Result<> add_memory(const ipc::GuestMemory& memory, std::uint64_t ram_bytes) const;
  ipc::Result<> set_routes() const;
  ipc::Result<> irqfd(const ipc::UniqueFd& event, const ipc::UniqueFd* resample, Gsi gsi, std::uint32_t flags) const;
  ipc::Result<> ioeventfd(ipc::GuestAddress address, const ipc::UniqueFd& kick, std::uint32_t flags) const;

  ipc::UniqueFd fd_;
  std::uint32_t next_msi_ = 0;
  std::uint32_t gsi_limit_ = 0;                   // KVM_CAP_IRQ_ROUTING
  std::map<std::uint32_t, MsiMessage> messages_;  // by GSI; KVM is told the whole table each time
};

}  // namespace vcpu_host
