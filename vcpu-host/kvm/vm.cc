#include "vcpu-host/kvm/vm.h"

#include "vcpu-host/layout.h"

namespace vcpu_host {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;

Result<Vm> Vm::create(UniqueFd kvm, const ipc::GuestMemory& memory, std::uint64_t ram_bytes) {
  const int fd = TRY(kvm_call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM"));
  kvm = UniqueFd();
  Vm vm{UniqueFd(fd)};
  TRY(kvm_call(vm.fd_, KVM_SET_TSS_ADDR, layout::kTss, "KVM_SET_TSS_ADDR"));
  std::uint64_t identity_map = layout::kIdentityMap;
  TRY(kvm_call(vm.fd_, KVM_SET_IDENTITY_MAP_ADDR, &identity_map, "KVM_SET_IDENTITY_MAP_ADDR"));
  TRY(kvm_call(vm.fd_, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP"));
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61 is the kernel's too: guests calibrate their TSC with it
  TRY(kvm_call(vm.fd_, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2"));

  // An instruction that KVM can't emulate ends the VM with a reason, rather than a #UD that a guest's
  // user space could provoke in its kernel.
  if (TRY(vm.has(KVM_CAP_EXIT_ON_EMULATION_FAILURE))) {
    kvm_enable_cap enable{};
    enable.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE;
    enable.args[0] = 1;
    TRY(kvm_call(vm.fd_, KVM_ENABLE_CAP, &enable, "KVM_CAP_EXIT_ON_EMULATION_FAILURE"));
  }
  if (TRY(vm.has(KVM_CAP_PMU_CAPABILITY))) {
    kvm_enable_cap disable{};
    disable.cap = KVM_CAP_PMU_CAPABILITY;
    disable.args[0] = KVM_PMU_CAP_DISABLE;
    TRY(kvm_call(vm.fd_, KVM_ENABLE_CAP, &disable, "KVM_CAP_PMU_CAPABILITY"));
  }
  const int routes = TRY(kvm_call(vm.fd_, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"));
  vm.gsi_limit_ = static_cast<std::uint32_t>(routes);
  vm.next_msi_ = layout::kFirstMsiGsi;
  TRY(vm.set_routes());
  TRY(vm.add_memory(memory, ram_bytes));
  return vm;
}

Result<bool> Vm::has(int capability) const {
  return TRY(kvm_call(fd_, KVM_CHECK_EXTENSION, capability, "KVM_CHECK_EXTENSION")) > 0;
}

Result<> Vm::add_memory(const ipc::GuestMemory& memory, std::uint64_t ram_bytes) const {
  std::uint32_t slot = 0;
  for (const layout::RamRange& range : {layout::low_ram(ram_bytes), layout::high_ram(ram_bytes)}) {
    if (range.bytes == 0) continue;
    const auto buffer = memory.slice(range.base, range.bytes);
    if (!buffer) return failure(EFAULT, "guest RAM is not mapped");
    kvm_userspace_memory_region region{};
    region.slot = slot++;
    region.guest_phys_addr = range.base.value;
    region.memory_size = range.bytes;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(buffer->as_iovec().iov_base);
    TRY(kvm_call(fd_, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"));
  }
  return {};
}

Result<Gsi> Vm::allocate_msi() {
  if (next_msi_ >= gsi_limit_) return failure(ENOSPC, "no more interrupt routes");
  return Gsi{next_msi_++};
}

Result<> Vm::route_msi(Gsi gsi, const MsiMessage& message) {
  messages_[gsi.value] = message;
  return set_routes();
}

Result<> Vm::set_routes() const {
  struct Pin {
    std::uint32_t gsi, chip, pin;
  };
  std::vector<Pin> pins;
  constexpr std::uint32_t kPics[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE};
  for (std::uint32_t irq = 0; irq < 16; ++irq) pins.push_back({irq, kPics[irq / 8], irq % 8});
  // The PIT's interrupt is pin 2 of the IOAPIC, as on a PC (MADT has the override); pin 2 has no other source.
  for (std::uint32_t pin = 0; pin < layout::kIoApicPins; ++pin)
    if (pin != 2) pins.push_back({pin, KVM_IRQCHIP_IOAPIC, pin == 0 ? 2 : pin});

  Entries<kvm_irq_routing, kvm_irq_routing_entry> table(pins.size() + messages_.size());
  for (const Pin& pin : pins) {
    kvm_irq_routing_entry& entry = table->entries[table->nr++];
    entry.gsi = pin.gsi;
    entry.type = KVM_IRQ_ROUTING_IRQCHIP;
    entry.u.irqchip.irqchip = pin.chip;
    entry.u.irqchip.pin = pin.pin;
  }
  for (const auto& [gsi, message] : messages_) {
    kvm_irq_routing_entry& entry = table->entries[table->nr++];
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = static_cast<std::uint32_t>(message.address);
    entry.u.msi.address_hi = static_cast<std::uint32_t>(message.address >> 32);
    entry.u.msi.data = message.data;
  }
  TRY(kvm_call(fd_, KVM_SET_GSI_ROUTING, table.get(), "KVM_SET_GSI_ROUTING"));
  return {};
}

Result<> Vm::irqfd(const UniqueFd& event, const UniqueFd* resample, Gsi gsi, std::uint32_t flags) const {
  kvm_irqfd request{};
  request.fd = static_cast<std::uint32_t>(event.get());
  request.gsi = gsi.value;
  request.flags = flags;
  if (resample != nullptr) {
    request.flags |= KVM_IRQFD_FLAG_RESAMPLE;
    request.resamplefd = static_cast<std::uint32_t>(resample->get());
  }
  TRY(kvm_call(fd_, KVM_IRQFD, &request, "KVM_IRQFD"));
  return {};
}

Result<> Vm::connect_interrupt(const UniqueFd& event, Gsi gsi) {
  return irqfd(event, nullptr, gsi, 0);
}

Result<> Vm::disconnect_interrupt(const UniqueFd& event, Gsi gsi) {
  return irqfd(event, nullptr, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

Result<> Vm::connect_level_interrupt(const UniqueFd& event, const UniqueFd& resample, Gsi gsi) {
  return irqfd(event, &resample, gsi, 0);
}

Result<> Vm::ioeventfd(ipc::GuestAddress address, const UniqueFd& kick, std::uint32_t flags) const {
  kvm_ioeventfd request{};
  request.addr = address.value;
  request.len = 0;  // a write of any size
  request.fd = kick.get();
  request.flags = flags;
  TRY(kvm_call(fd_, KVM_IOEVENTFD, &request, "KVM_IOEVENTFD"));
  return {};
}

Result<> Vm::attach_doorbell(ipc::GuestAddress address, const UniqueFd& kick) {
  return ioeventfd(address, kick, 0);
}

Result<> Vm::detach_doorbell(ipc::GuestAddress address, const UniqueFd& kick) {
  return ioeventfd(address, kick, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

}  // namespace vcpu_host
