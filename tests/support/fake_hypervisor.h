// A hypervisor that remembers what it was asked for, and plays the kernel's part: an event that is connected
// interrupts, a doorbell that is attached kicks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "vcpu-host/hypervisor.h"

namespace vcpu_host {

class FakeHypervisor final : public Hypervisor {
 public:
  ipc::Result<Gsi> allocate_msi() override;
  ipc::Result<> route_msi(Gsi gsi, const MsiMessage& message) override;
  ipc::Result<> connect_interrupt(const ipc::UniqueFd& event, Gsi gsi) override;
  ipc::Result<> disconnect_interrupt(const ipc::UniqueFd& event, Gsi gsi) override;
  ipc::Result<> connect_level_interrupt(const ipc::UniqueFd& event, const ipc::UniqueFd& resample, Gsi gsi) override;
  ipc::Result<> attach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) override;
  ipc::Result<> detach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) override;

  // What the guest's local APIC would get now: the messages of the connected events that were signalled.
  std::vector<MsiMessage> delivered();

  std::size_t connections() const { return connections_.size(); }
  std::size_t doorbells() const { return doorbells_.size(); }
  // The guest writes to `address`. False if no doorbell is there.
  bool ring(std::uint64_t address);

  bool refuse_routes = false;

 private:
  std::uint32_t next_gsi_ = 24;
  std::map<std::uint32_t, MsiMessage> routes_;
  std::map<int, std::uint32_t> connections_;  // eventfd to GSI
  std::map<std::uint64_t, int> doorbells_;    // address to eventfd
};

// A non-blocking eventfd, and what was written to one since the last call.
ipc::UniqueFd make_event();
std::uint64_t take(const ipc::UniqueFd& event);

}  // namespace vcpu_host
