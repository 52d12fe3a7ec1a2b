// bulkhead-vcpu-host: one VM's vCPUs and devices, started by the monitor alone.

#include <linux/virtio_ids.h>

#include <cstdio>
#include <string_view>

#include "sandbox/child_process.h"
#include "sandbox/policy/vcpu_host.h"
#include "sandbox/seal.h"
#include "vcpu-host/boot/boot.h"
#include "vcpu-host/kvm/cpuid.h"
#include "vcpu-host/layout.h"
#include "vcpu-host/machine.h"
#include "vcpu-host/monitor_link.h"

namespace vcpu_host {
namespace {

using ipc::Result;
using ipc::UniqueFd;

struct Failed {
  FailureKind kind;
  ipc::Error error;
};

// A step of the setup, and whose fault it is when it fails.
#define STEP(failure_kind, expression)                                                               \
  __extension__({                                                                                    \
    auto step_ = (expression);                                                                       \
    if (!step_) return std::unexpected(Failed{FailureKind::failure_kind, std::move(step_).error()}); \
    std::move(step_).value();                                                                        \
  })

Result<ipc::GuestMemory> map_ram(const UniqueFd& ram, std::uint64_t bytes) {
  ipc::GuestMemory memory;
  for (const layout::RamRange& range : {layout::low_ram(bytes), layout::high_ram(bytes)}) {
    if (range.bytes == 0) continue;
    auto mapping = TRY(ipc::Mapping::of(ram, range.file_offset, range.bytes, ipc::Access::ReadWrite));
    memory.add_region(range.base, range.bytes, std::move(mapping));
  }
  return memory;
}

Result<std::vector<std::unique_ptr<FrontEnd>>> greet_back_ends(EventLoop& loop, MachineSpec& spec,
                                                               const ipc::GuestMemory& memory) {
  std::vector<std::unique_ptr<FrontEnd>> front_ends;
  for (DeviceSpec& device : spec.devices) {
    auto front_end = FrontEnd::connect(loop,
                                       {.back_end = std::move(device.back_end),
                                        .kicks = std::move(device.kicks),
                                        .calls = std::move(device.calls),
                                        .loses_harmlessly = device.virtio_id == VIRTIO_ID_NET},
                                       {spec.ram, spec.ram_bytes, memory});
    if (!front_end)
      return ipc::failure(front_end.error().code, fmt::format("device {} (virtio id {}): {}", front_ends.size(),
                                                              device.virtio_id, front_end.error().context));
    front_ends.push_back(std::move(*front_end));
  }
  return front_ends;
}

Result<> add_vcpus(Machine& machine, const Vm& vm, const KvmLoan& loan, const MachineSpec& spec,
                   const EntryPoint& entry) {
  const bool deadline_timer = TRY(vm.has(KVM_CAP_TSC_DEADLINE_TIMER));
  const CpuidTable cpuid = TRY(CpuidTable::parse(loan.supported_cpuid, deadline_timer));
  for (std::uint32_t index = 0; index < spec.cpus; ++index) {
    Vcpu vcpu = TRY(Vcpu::create(vm, index, loan.vcpu_mmap_bytes, cpuid.for_vcpu(index, spec.cpus)));
    if (index == 0) TRY(vcpu.enter_at(entry));
    TRY(machine.add_vcpu(std::move(vcpu)));
  }
  return {};
}

std::expected<void, Failed> serve(MonitorLink& monitor) {
  // Acquire, and parse what nobody trusts, while this process has no /dev/kvm.
  MachineSpec spec = STEP(Internal, monitor.receive_machine());
  const ipc::GuestMemory memory = STEP(Host, map_ram(spec.ram, spec.ram_bytes));
  const EntryPoint entry =
      STEP(Configuration, load_guest(memory, {spec.ram_bytes, spec.cpus, spec.kernel,
                                              spec.initrd ? &*spec.initrd : nullptr, spec.cmdline}));
  spec.kernel = UniqueFd();
  spec.initrd.reset();
  EventLoop loop = STEP(Internal, EventLoop::create());
  auto front_ends = STEP(Configuration, greet_back_ends(loop, spec, memory));
  STEP(Internal, monitor.send_loaded());

  // Build.
  KvmLoan loan = STEP(Internal, monitor.receive_kvm());
  const sandbox::Protections protections = STEP(Internal, sandbox::lock_down());
  Vm vm = STEP(Host, Vm::create(std::move(loan.kvm), memory, spec.ram_bytes));
  const auto tell = [&](Result<> sent) {
    if (!sent) loop.stop();  // the monitor is gone or does not listen: so ends its VM
  };
  auto machine =
      STEP(Host, Machine::create(loop, vm, spec.ram_bytes, std::move(spec.serial),
                                 {.powered_off = [&] { tell(monitor.send_powered_off()); },
                                  .reset_requested = [&] { tell(monitor.send_reset_requested()); },
                                  .crashed = [&](const std::string& reason) { tell(monitor.send_crashed(reason)); },
                                  .back_end_lost =
                                      [&](std::uint16_t device, const std::string& reason, bool needs_reset) {
                                        tell(monitor.send_back_end_lost(device, reason, needs_reset));
                                      },
                                  .back_end_replaced =
                                      [&](std::uint16_t device, std::chrono::microseconds gap) {
                                        tell(monitor.send_back_end_replaced(device, gap));
                                      }}));
  for (std::size_t i = 0; i < front_ends.size(); ++i)
    STEP(Host, machine->add_device(spec.devices[i].virtio_id, std::move(front_ends[i]),
                                   std::move(spec.devices[i].config_call)));
  STEP(Host, add_vcpus(*machine, vm, loan, spec, entry));
  STEP(Internal, loop.watch(monitor.socket(), [&] {
    auto order = monitor.receive_order();
    if (!order && order.error().code != EAGAIN) return loop.stop();
    if (!order) return;
    if (std::holds_alternative<Start>(*order)) return machine->start();
    if (std::holds_alternative<PowerButton>(*order)) return machine->press_power_button();
    auto& another = std::get<Reconnect>(*order);
    if (!machine->reconnect(another.slot, std::move(another.back_end))) loop.stop();
  }));

  // Seal, and run.
  STEP(Internal, sandbox::enter_filter(sandbox::kEventLoopPolicy, sandbox::Slots().set(sandbox::Slot::Vm, vm.fd())));
  STEP(Internal,
       monitor.send_sealed({sandbox::layer_bits(protections), protections.landlock_abi}, machine->descriptors()));
  STEP(Internal, loop.run());
  // The vCPUs' threads have no way to end but with the process: nothing that they use may be destroyed.
  std::_Exit(0);
}

}  // namespace
}  // namespace vcpu_host

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::puts("bulkhead-vcpu-host runs the vCPUs of one VM. bulkhead-monitor starts it; see `bulkhead run --help`.");
    return 0;
  }
  vcpu_host::MonitorLink monitor{ipc::ControlChannel(ipc::UniqueFd(sandbox::kControlFd))};
  const auto served = vcpu_host::serve(monitor);
  static_cast<void>(monitor.send_failed(served.error().kind, served.error().error));
  std::_Exit(1);
}
