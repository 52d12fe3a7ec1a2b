// What the guest's CPUID instruction answers: the host's offer, narrowed and told apart by vCPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "vcpu-host/kvm/api.h"

namespace vcpu_host {

// KVM_SET_CPUID2 takes no more (KVM_MAX_CPUID_ENTRIES).
inline constexpr std::size_t kMaxCpuidEntries = 256;

class CpuidTable {
 public:
  // `supported` is what KVM_GET_SUPPORTED_CPUID gave, as an array of kvm_cpuid_entry2; `deadline_timer`
  // tells whether KVM has KVM_CAP_TSC_DEADLINE_TIMER. EINVAL if it is no such array.
  static ipc::Result<CpuidTable> parse(std::span<const std::byte> supported, bool deadline_timer);

  // The table of vCPU `index` (its APIC id) among `cpus`: one socket, `cpus` cores, one thread each.
  std::vector<kvm_cpuid_entry2> for_vcpu(std::uint32_t index, std::uint32_t cpus) const;

 private:
  std::vector<kvm_cpuid_entry2> entries_;
};

}  // namespace vcpu_host
