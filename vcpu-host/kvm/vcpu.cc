#include "vcpu-host/kvm/vcpu.h"

#include <cstring>

namespace vcpu_host {

using ipc::failure;
using ipc::Result;

namespace {

constexpr std::uint32_t kMtrrDefaultType = 0x2ff;
constexpr std::uint64_t kMtrrEnabledWriteBack = 1u << 11 | 6;  // Intel SDM vol. 3A, 12.11.2.1
constexpr std::uint32_t kMiscEnable = 0x1a0;
constexpr std::uint64_t kFastStrings = 1;

// Local APIC's vector table: as firmware leaves it in virtual wire mode (MP specification, 3.6.2.2).
constexpr std::size_t kApicLint0 = 0x350;
constexpr std::size_t kApicLint1 = 0x360;
constexpr std::uint32_t kDeliverExtInt = 7u << 8;
constexpr std::uint32_t kDeliverNmi = 4u << 8;

constexpr std::uint64_t kFlagsReserved = 1u << 1;

kvm_segment to_kvm(const Segment& segment) {
  kvm_segment result{};
  result.base = segment.base;
  result.limit = segment.limit;
  result.selector = segment.selector;
  result.type = segment.type;
  result.present = segment.present;
  result.s = segment.code_or_data;
  result.db = segment.wide;
  result.l = segment.long_mode;
  result.g = segment.granularity;
  return result;
}

}  // namespace

Result<Vcpu> Vcpu::create(const Vm& vm, std::uint32_t index, std::size_t mmap_bytes,
                          std::vector<kvm_cpuid_entry2> cpuid) {
  if (mmap_bytes < sizeof(kvm_run)) return failure(EINVAL, "KVM_GET_VCPU_MMAP_SIZE");
  ipc::UniqueFd fd(TRY(kvm_call(vm.fd(), KVM_CREATE_VCPU, static_cast<unsigned long>(index), "KVM_CREATE_VCPU")));
  ipc::Mapping run = TRY(ipc::Mapping::of(fd, 0, mmap_bytes, ipc::Access::ReadWrite));
  Vcpu vcpu(std::move(fd), std::move(run), index);

  // CPUID comes first: without it KVM does not know which MSRs this vCPU has.
  Entries<kvm_cpuid2, kvm_cpuid_entry2> table(cpuid.size());
  table->nent = static_cast<std::uint32_t>(cpuid.size());
  std::memcpy(table->entries, cpuid.data(), cpuid.size() * sizeof(kvm_cpuid_entry2));
  TRY(kvm_call(vcpu.fd_, KVM_SET_CPUID2, table.get(), "KVM_SET_CPUID2"));
  TRY(vcpu.set_msrs());
  TRY(vcpu.set_local_apic());
  return vcpu;
}

Result<> Vcpu::set_msrs() {
  Entries<kvm_msrs, kvm_msr_entry> msrs(2);
  msrs->nmsrs = 2;
  msrs->entries[0].index = kMtrrDefaultType;
  msrs->entries[0].data = kMtrrEnabledWriteBack;
  msrs->entries[1].index = kMiscEnable;  // last: KVM stops at the first MSR that this vCPU lacks
  msrs->entries[1].data = kFastStrings;
  if (TRY(kvm_call(fd_, KVM_SET_MSRS, msrs.get(), "KVM_SET_MSRS")) == 0)
    return failure(EINVAL, "KVM_SET_MSRS: no memory types");
  return {};
}

Result<> Vcpu::set_local_apic() {
  kvm_lapic_state apic{};
  TRY(kvm_call(fd_, KVM_GET_LAPIC, &apic, "KVM_GET_LAPIC"));
  std::memcpy(apic.regs + kApicLint0, &kDeliverExtInt, sizeof kDeliverExtInt);
  std::memcpy(apic.regs + kApicLint1, &kDeliverNmi, sizeof kDeliverNmi);
  TRY(kvm_call(fd_, KVM_SET_LAPIC, &apic, "KVM_SET_LAPIC"));
  return {};
}

Result<> Vcpu::enter_at(const EntryPoint& entry) {
  kvm_sregs system{};
  TRY(kvm_call(fd_, KVM_GET_SREGS, &system, "KVM_GET_SREGS"));
  system.cs = to_kvm(entry.code);
  system.ds = system.es = system.fs = system.gs = system.ss = to_kvm(entry.data);
  system.tr = to_kvm(entry.task);
  system.gdt.base = entry.gdt_base;
  system.gdt.limit = entry.gdt_limit;
  system.idt = {};
  system.cr0 = entry.cr0;
  system.cr3 = entry.cr3;
  system.cr4 = entry.cr4;
  system.efer = entry.efer;
  TRY(kvm_call(fd_, KVM_SET_SREGS, &system, "KVM_SET_SREGS"));

  kvm_regs registers{};
  registers.rip = entry.rip;
  registers.rsi = entry.rsi;
  registers.rbx = entry.rbx;
  registers.rsp = entry.rsp;
  registers.rflags = kFlagsReserved;
  TRY(kvm_call(fd_, KVM_SET_REGS, &registers, "KVM_SET_REGS"));
  return {};
}

std::optional<Crash> Vcpu::serve_exit(const Bus& ports, const Bus& memory) {
  kvm_run& run = this->run();
  switch (run.exit_reason) {
    case KVM_EXIT_IO: {
      // String instructions give several accesses of one size to one port.
      const std::span<std::byte> all = run_.bytes();
      const std::size_t size = run.io.size;
      if (run.io.data_offset > all.size() ||
          run.io.count > (all.size() - run.io.data_offset) / std::max<std::size_t>(size, 1))
        return Crash{"KVM told of a port access outside its own page"};
      for (std::size_t i = 0; i < run.io.count; ++i) {
        const std::span<std::byte> data = all.subspan(run.io.data_offset + i * size, size);
        if (run.io.direction == KVM_EXIT_IO_OUT)
          ports.write(run.io.port, data);
        else
          ports.read(run.io.port, data);
      }
      return std::nullopt;
    }
    case KVM_EXIT_MMIO: {
      const std::size_t size = std::min<std::size_t>(run.mmio.len, sizeof run.mmio.data);
      const std::span<std::byte> data = std::as_writable_bytes(std::span(run.mmio.data)).first(size);
      if (run.mmio.is_write != 0)
        memory.write(run.mmio.phys_addr, data);
      else
        memory.read(run.mmio.phys_addr, data);
      return std::nullopt;
    }
    case KVM_EXIT_INTR:  // a signal stopped it: nothing to serve
      return std::nullopt;
    case KVM_EXIT_SHUTDOWN:
      return Crash{fmt::format("triple fault of vCPU {}", index_)};
    case KVM_EXIT_FAIL_ENTRY:
      return Crash{fmt::format("vCPU {} cannot enter the guest: hardware reason {:#x}", index_,
                               run.fail_entry.hardware_entry_failure_reason)};
    case KVM_EXIT_INTERNAL_ERROR:
      return Crash{fmt::format("KVM cannot run vCPU {}: {} (suberror {})", index_,
                               run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                                   ? "it does not know how to emulate an instruction"
                                   : "internal error",
                               run.internal.suberror)};
    default:
      return Crash{fmt::format("vCPU {} stopped for an unknown reason ({})", index_, run.exit_reason)};
  }
}

}  // namespace vcpu_host
