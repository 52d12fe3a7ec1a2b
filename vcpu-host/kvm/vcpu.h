// One vCPU: its state when the guest starts, and the shared page by which KVM tells why it stopped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ipc/mapping.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/kvm/vm.h"

namespace vcpu_host {

// Why the VM cannot go on, for people: "triple fault of vCPU 1".
struct Crash {
  std::string reason;
};

class Vcpu {
 public:
  // Makes vCPU `index` (its APIC id) with `cpuid` and the MSRs and local APIC that firmware leaves
  // behind. `mmap_bytes` is KVM_GET_VCPU_MMAP_SIZE.
  static ipc::Result<Vcpu> create(const Vm& vm, std::uint32_t index, std::size_t mmap_bytes,
                                  std::vector<kvm_cpuid_entry2> cpuid);

  // The registers of the boot processor at the kernel's entry. All others wait for its SIPI.
  ipc::Result<> enter_at(const EntryPoint& entry);

  const ipc::UniqueFd& fd() const { return fd_; }
  std::uint32_t index() const { return index_; }

  // What the last KVM_RUN stopped for: serves a port or memory access from the buses, or tells why
  // the VM cannot go on. The vCPU does not run meanwhile.
  std::optional<Crash> serve_exit(const Bus& ports, const Bus& memory);

 private:
  Vcpu(ipc::UniqueFd fd, ipc::Mapping run, std::uint32_t index)
      : fd_(std::move(fd)), run_(std::move(run)), index_(index) {}
  ipc::Result<> set_msrs();
  ipc::Result<> set_local_apic();
  kvm_run& run() { return *reinterpret_cast<kvm_run*>(run_.bytes().data()); }

  ipc::UniqueFd fd_;
  ipc::Mapping run_;  // struct kvm_run and the data of port accesses behind it; written by KVM alone
  std::uint32_t index_;
};

}  // namespace vcpu_host
