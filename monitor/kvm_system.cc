#include "monitor/kvm_system.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstring>
#include <string_view>

#include "sandbox/linux_kvm.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr std::uint32_t kMaxCpuidEntries = 256;  // KVM_MAX_CPUID_ENTRIES

struct Need {
  int capability;
  std::string_view name;
};
constexpr Need kNeeds[] = {
    {KVM_CAP_USER_MEMORY, "user memory slots"},
    {KVM_CAP_IRQCHIP, "an in-kernel interrupt controller"},
    {KVM_CAP_PIT2, "an in-kernel timer"},
    {KVM_CAP_IRQ_ROUTING, "interrupt routing with MSI"},
    {KVM_CAP_IRQFD, "irqfd"},
    {KVM_CAP_IRQFD_RESAMPLE, "irqfd for level-triggered interrupts"},
    {KVM_CAP_IOEVENTFD, "ioeventfd"},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd for writes of any size"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

Result<std::vector<std::byte>> supported_cpuid(const UniqueFd& device) {
  std::vector<std::uint64_t> words((sizeof(kvm_cpuid2) + kMaxCpuidEntries * sizeof(kvm_cpuid_entry2)) / 8);
  // SAFETY: the words hold the table with that many entries, and are at least as aligned.
  auto* table = reinterpret_cast<kvm_cpuid2*>(words.data());
  table->nent = kMaxCpuidEntries;
  if (::ioctl(device.get(), KVM_GET_SUPPORTED_CPUID, table) != 0) return ipc::system_failure("KVM_GET_SUPPORTED_CPUID");
  std::vector<std::byte> entries(table->nent * sizeof(kvm_cpuid_entry2));
  std::memcpy(entries.data(), table->entries, entries.size());
  return entries;
}

}  // namespace

Result<KvmSystem> open_kvm() {
  UniqueFd device(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!device && errno == ENOENT)
    return failure(0, "/dev/kvm is missing: this host offers no virtualization, see `bulkhead doctor`");
  if (!device && errno == EACCES)
    return failure(0, "/dev/kvm: no right to open it: join the group kvm, or run as root");
  if (!device) return ipc::system_failure("open /dev/kvm");
  if (::ioctl(device.get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
    return failure(0, fmt::format("/dev/kvm: another version of its interface, {} is right", KVM_API_VERSION));
  for (const Need& need : kNeeds)
    if (::ioctl(device.get(), KVM_CHECK_EXTENSION, need.capability) <= 0)
      return failure(0, fmt::format("/dev/kvm: this host's KVM lacks {}", need.name));
  const int mmap_bytes = ::ioctl(device.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (mmap_bytes <= 0) return ipc::system_failure("KVM_GET_VCPU_MMAP_SIZE");
  const int max_cpus = ::ioctl(device.get(), KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
  auto cpuid = TRY(supported_cpuid(device));
  return KvmSystem{std::move(device), static_cast<std::size_t>(mmap_bytes),
                   static_cast<std::uint32_t>(std::max(max_cpus, 1)), std::move(cpuid)};
}

}  // namespace monitor
