#include "vcpu-host/kvm/cpuid.h"

#include <algorithm>
#include <bit>
#include <cstring>

// Leaf numbers and bits: Intel SDM vol. 2A, CPUID; AMD64 APM vol. 3, appendix E; Linux,
// Documentation/virt/kvm/x86/cpuid.rst.
namespace vcpu_host {
namespace {

constexpr std::uint32_t kFeatures = 0x1;
constexpr std::uint32_t kCaches = 0x4;
constexpr std::uint32_t kPerformance = 0xa;
constexpr std::uint32_t kTopology = 0xb;
constexpr std::uint32_t kTopologyV2 = 0x1f;
constexpr std::uint32_t kExtendedFeatures = 0x80000001;
constexpr std::uint32_t kAddressSizes = 0x80000008;
constexpr std::uint32_t kSvm = 0x8000000a;
constexpr std::uint32_t kAmdTopology = 0x8000001e;

constexpr std::uint32_t kVmxBit = 1u << 5;              // leaf 1 ECX
constexpr std::uint32_t kX2ApicBit = 1u << 21;          // leaf 1 ECX
constexpr std::uint32_t kDeadlineTimerBit = 1u << 24;   // leaf 1 ECX
constexpr std::uint32_t kHypervisorBit = 1u << 31;      // leaf 1 ECX
constexpr std::uint32_t kMultiThreadBit = 1u << 28;     // leaf 1 EDX
constexpr std::uint32_t kLegacyMultiCoreBit = 1u << 1;  // leaf 0x80000001 ECX
constexpr std::uint32_t kSvmBit = 1u << 2;              // leaf 0x80000001 ECX
constexpr std::uint32_t kPerfCtrCoreBits = 7u << 23;    // leaf 0x80000001 ECX: AMD's extended counters

// Nested virtualization and the performance counters stay off: less of KVM is in a guest's reach.
bool is_withheld(const kvm_cpuid_entry2& entry) {
  return entry.function == kSvm || entry.function == kPerformance || entry.function == kTopology ||
         entry.function == kTopologyV2;
}

kvm_cpuid_entry2 topology_level(std::uint32_t level, std::uint32_t type, std::uint32_t shift, std::uint32_t count,
                                std::uint32_t apic_id) {
  kvm_cpuid_entry2 entry{};
  entry.function = kTopology;
  entry.index = level;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.eax = shift;
  entry.ebx = count;
  entry.ecx = type << 8 | level;
  entry.edx = apic_id;
  return entry;
}

}  // namespace

ipc::Result<CpuidTable> CpuidTable::parse(std::span<const std::byte> supported, bool deadline_timer) {
  const std::size_t count = supported.size() / sizeof(kvm_cpuid_entry2);
  // for_vcpu() adds up to three levels of topology.
  if (count == 0 || count > kMaxCpuidEntries - 3 || supported.size() % sizeof(kvm_cpuid_entry2) != 0)
    return ipc::failure(EINVAL, "the table of supported CPUID leaves");
  CpuidTable table;
  table.entries_.resize(count);
  std::memcpy(table.entries_.data(), supported.data(), supported.size());
  std::erase_if(table.entries_, is_withheld);
  for (kvm_cpuid_entry2& entry : table.entries_) {
    if (entry.function == kFeatures) {
      entry.ecx &= ~kVmxBit;
      entry.ecx |= kHypervisorBit | kX2ApicBit;
      if (deadline_timer) entry.ecx |= kDeadlineTimerBit;
    }
    if (entry.function == kExtendedFeatures) entry.ecx &= ~(kSvmBit | kPerfCtrCoreBits);
  }
  return table;
}

std::vector<kvm_cpuid_entry2> CpuidTable::for_vcpu(std::uint32_t index, std::uint32_t cpus) const {
  std::vector<kvm_cpuid_entry2> table = entries_;
  const std::uint32_t id_bits = static_cast<std::uint32_t>(std::bit_width(cpus - 1));
  std::uint32_t highest_leaf = 0;
  for (kvm_cpuid_entry2& entry : table) {
    switch (entry.function) {
      case 0:
        highest_leaf = entry.eax;
        break;
      case kFeatures:
        entry.ebx = (entry.ebx & 0x0000ffff) | std::min(cpus, 255u) << 16 | index << 24;
        entry.edx = cpus > 1 ? entry.edx | kMultiThreadBit : entry.edx & ~kMultiThreadBit;
        break;
      case kCaches:
        // Bits 31:26, cores in the package less one; bits 25:14, threads that share this cache less
        // one: only the last level (3) is shared.
        entry.eax &= 0x00003fff;
        if (((entry.eax >> 5) & 7) == 3) entry.eax |= std::min(cpus - 1, 4095u) << 14;
        if (entry.eax != 0) entry.eax |= std::min(cpus - 1, 63u) << 26;
        break;
      case kExtendedFeatures:
        entry.ecx = cpus > 1 ? entry.ecx | kLegacyMultiCoreBit : entry.ecx & ~kLegacyMultiCoreBit;
        break;
      case kAddressSizes:
        entry.ecx = (entry.ecx & 0xffff0000) | id_bits << 12 | std::min(cpus - 1, 255u);
        break;
      case kAmdTopology:
        entry.eax = index;
        entry.ebx = index & 0xff;  // core id; one thread each
        entry.ecx = 0;             // one node
        break;
      default:
        break;
    }
  }
  if (highest_leaf >= kTopology) {
    table.push_back(topology_level(0, 1, 0, 1, index));           // threads of a core
    table.push_back(topology_level(1, 2, id_bits, cpus, index));  // cores of the package
    table.push_back(topology_level(2, 0, 0, 0, index));           // end of the list
  }
  return table;
}

}  // namespace vcpu_host
