#include "vcpu-host/machine.h"

#include <sys/eventfd.h>

#include "vcpu-host/devices/event.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;

namespace {

Result<UniqueFd> make_event() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return ipc::system_failure("make an eventfd");
  return event;
}

}  // namespace

Machine::Machine(Vm& vm, Events events, InterruptLines lines, UniqueFd exits)
    : vm_(vm),
      events_(std::move(events)),
      lines_(std::move(lines)),
      exits_(std::move(exits)),
      reset_control_([this] { end(events_.reset_requested); }),
      keyboard_reset_([this] { end(events_.reset_requested); }),
      pci_(memory_, reset_control_) {}

Result<std::unique_ptr<Machine>> Machine::create(EventLoop& loop, Vm& vm, std::uint64_t ram_bytes, UniqueFd serial,
                                                 Events events) {
  InterruptLines lines{TRY(make_event()), TRY(make_event()), TRY(make_event()), TRY(make_event())};
  std::unique_ptr<Machine> machine(new Machine(vm, std::move(events), std::move(lines), TRY(make_event())));
  Machine& self = *machine;
  TRY(self.connect_lines());
  self.serial_ = TRY(Serial::create(loop, std::move(serial), self.lines_.serial));
  self.rtc_ = TRY(CmosRtc::create(loop, self.lines_.rtc, ram_bytes));
  self.power_ = TRY(AcpiPm::create(loop, self.lines_.sci, self.lines_.sci_resample,
                                   [machine = &self] { machine->end(machine->events_.powered_off); }));
  TRY(self.build_buses());
  TRY(loop.watch(self.exits_, [machine = &self] { machine->serve_exits(); }));
  return machine;
}

Result<> Machine::connect_lines() {
  TRY(vm_.connect_interrupt(lines_.serial, Gsi{layout::kSerialIrq}));
  TRY(vm_.connect_interrupt(lines_.rtc, Gsi{layout::kRtcIrq}));
  return vm_.connect_level_interrupt(lines_.sci, lines_.sci_resample, Gsi{layout::kSciIrq});
}

Result<> Machine::build_buses() {
  const bool placed = ports_.add(layout::kSerial, Serial::kPorts, *serial_) &&
                      ports_.add(layout::kCmos, CmosRtc::kPorts, *rtc_) &&
                      ports_.add(layout::kPm1Event, AcpiPm::kPorts, *power_) &&
                      ports_.add(layout::kKeyboardCommand, 1, keyboard_reset_) &&
                      ports_.add(layout::kPciAddress, PciBus::kPorts, pci_.ports()) &&
                      memory_.add(layout::kEcam, layout::kEcamBytes, pci_.ecam());
  if (!placed) return failure(0, "two devices of the platform overlap");
  return {};
}

Result<> Machine::add_device(std::uint16_t virtio_id, std::unique_ptr<FrontEnd> front_end, UniqueFd config_call) {
  const auto number = static_cast<std::uint16_t>(devices_.size());
  auto transport = TRY(PciTransport::create(
      virtio_id, *front_end, std::move(config_call), vm_,
      {.lost = [this, number](const ipc::Error& reason,
                              bool needs_reset) { events_.back_end_lost(number, ipc::describe(reason), needs_reset); },
       .replaced = [this, number](auto gap) { events_.back_end_replaced(number, gap); }}));
  devices_.push_back({std::move(front_end), std::move(transport)});
  if (!pci_.add(number + 1u, *devices_.back().transport))
    return failure(ENOSPC, fmt::format("device {}: the PCI bus has no room for more", number));
  return {};
}

bool Machine::reconnect(std::uint16_t device, BackEndConnection connection) {
  if (device >= devices_.size()) return false;
  devices_[device].front_end->reconnect(std::move(connection));
  return true;
}

Result<> Machine::add_vcpu(Vcpu vcpu) {
  vcpus_.push_back(TRY(VcpuThread::start(std::move(vcpu), exits_)));
  return {};
}

std::vector<int> Machine::descriptors() const {
  std::vector<int> fds{vm_.fd().get()};
  for (const auto& thread : vcpus_) fds.push_back(thread->vcpu().fd().get());
  return fds;
}

void Machine::start() {
  for (const auto& thread : vcpus_) thread->resume();
}

void Machine::serve_exits() {
  drain(exits_);
  for (const auto& thread : vcpus_) {
    if (!thread->stopped()) continue;
    if (const auto crash = thread->serve_exit(ports_, memory_))
      end([this, reason = crash->reason] { events_.crashed(reason); });
    // A machine that has ended leaves the vCPU that ended it where it is: the monitor ends the process.
    if (ended_) return;
    thread->resume();
  }
}

// The monitor ends this process when it is told: what the guest wrote to its serial port goes first.
void Machine::end(std::function<void()> tell) {
  if (!std::exchange(ended_, true)) serial_->when_drained(std::move(tell));
}

}  // namespace vcpu_host
