#include "monitor/virtual_machine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "monitor/back_ends.h"
#include "monitor/message.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

constexpr std::uint16_t kVirtioNetwork = 1;
constexpr std::uint16_t kVirtioBlock = 2;
constexpr std::chrono::seconds kSetup{120};  // a large kernel on a slow, loaded host
constexpr std::chrono::seconds kSettle{1};   // between a cause and its effect in another process

}  // namespace

std::expected<std::unique_ptr<VirtualMachine>, Ending> VirtualMachine::power_on(Host host) {
  std::unique_ptr<VirtualMachine> machine(new VirtualMachine(host));
  const auto started = machine->start_children();
  if (!started) return std::unexpected(Ending{Ending::Kind::HostNotAble, ipc::describe(started.error())});
  return machine;
}

VirtualMachine::~VirtualMachine() {
  deadline_.cancel();
  host_.loop.unwatch(host_.spawner.pidfd());
  vcpu_host_.reset();
  host_.serial.detach();
  for (const auto& way : host_.ways) way->detach();
  devices_.clear();
}

Result<> VirtualMachine::start_children() {
  TRY(arm_deadline(kSetup));
  TRY(host_.loop.watch(host_.spawner.pidfd(), [this] {
    end({Ending::Kind::ChildLost, "spawner was lost: " + host_.spawner.how_it_ended()});
  }));
  for (std::size_t i = 0; i < host_.configuration.disks.size(); ++i)
    TRY(add_device({.name = fmt::format("blk{}", i),
                    .slot = next_slot(),
                    .virtio_id = kVirtioBlock,
                    .queues = host_.configuration.disks[i].queues,
                    .find_back_end = [this, i](Device& device) {
                      return start_disk(device, host_.configuration.disks[i], host_.images.disks[i],
                                        operators_of(device));
                    }}));
  for (std::size_t i = 0; i < host_.configuration.nets.size(); ++i)
    TRY(add_device({.name = fmt::format("net{}", i),
                    .slot = next_slot(),
                    .virtio_id = kVirtioNetwork,
                    .queues = rings_of(host_.configuration.nets[i]),
                    .way = host_.ways[i].get(),
                    .find_back_end = [this, i](Device& device) {
                      return start_card(device, host_.configuration.nets[i], operators_of(device));
                    }}));
  for (std::size_t i = 0; i < host_.configuration.devices.size(); ++i)
    TRY(add_device({.name = host_.configuration.devices[i].socket,
                    .slot = next_slot(),
                    .virtio_id = host_.configuration.devices[i].id,
                    .queues = host_.configuration.devices[i].queues,
                    .find_back_end = [this, i](Device&) { return host_.spawner.connect(i); }}));
  return start_vcpu_host();
}

Result<> VirtualMachine::add_device(Device::Plan plan) {
  devices_.push_back(TRY(Device::create(host_.loop, host_.spawner, host_.configuration.name, *this, std::move(plan))));
  return {};
}

const UniqueFd* VirtualMachine::operators_of(const Device& device) const {
  const std::size_t slot = device.plan().slot;
  return slot < host_.operators.size() ? &host_.operators[slot] : nullptr;
}

Result<> VirtualMachine::arm_deadline(std::chrono::seconds patience) {
  return deadline_.after(patience, [this, patience] {
    end(suspicion_.value_or(
        Ending{Ending::Kind::InternalError, fmt::format("the machine was not ready within {} s", patience.count())}));
  });
}

Result<> VirtualMachine::start_vcpu_host() {
  std::size_t descriptors = 64 + 2u * host_.configuration.cpus;
  for (const auto& device : devices_) descriptors += 11 + device->events().size();
  const Spawner::Order order{
      .slot = next_slot(),
      .program = ProgramKind::VCPU_HOST,
      .limits = {.open_files = descriptors, .file_bytes = kScratchBytes, .threads = 8u + host_.configuration.cpus}};
  vcpu_host_ =
      TRY(Child::start(host_.loop, host_.spawner, host_.configuration.name, "vcpu-host", order,
                       {.said =
                            [this](ipc::Frame frame) {
                              if (ending_) return;
                              const auto handled = ipc::guarded([&] { return vcpu_host_said(std::move(frame)); });
                              if (!handled)
                                end({Ending::Kind::InternalError, "vcpu-host: " + ipc::describe(handled.error())});
                            },
                        .broke_protocol =
                            [this](const ipc::Error& error) {
                              end({Ending::Kind::InternalError, "vcpu-host: " + ipc::describe(error)});
                            },
                        .ended = [this](const sandbox::Exit& exit) { lost("vcpu-host", exit); }}));
  const UniqueFd serial = TRY(host_.serial.attach());
  return set_up_vcpu_host(serial);
}

Result<> VirtualMachine::set_up_vcpu_host(const UniqueFd& serial) {
  const UniqueFd ram = TRY(make_ram(host_.configuration.memory_mib));
  capnp::MallocMessageBuilder message;
  auto setup = message.initRoot<schema::ToVcpuHost>().initSetup();
  setup.setMemoryMib(host_.configuration.memory_mib);
  setup.setCpus(host_.configuration.cpus);
  setup.setCmdline(host_.configuration.cmdline);
  setup.setHasInitrd(host_.images.initrd.has_value());
  std::vector<int> fds{ram.get(), serial.get(), host_.images.kernel.get()};
  if (host_.images.initrd) fds.push_back(host_.images.initrd->get());
  TRY(vcpu_host_->send(message, fds));

  for (const auto& device : devices_) {
    const Connection connection = TRY(device->connect());
    capnp::MallocMessageBuilder announcement;
    auto body = announcement.initRoot<schema::ToVcpuHost>().initDevice();
    body.setVirtioId(device->plan().virtio_id);
    body.setQueues(static_cast<std::uint16_t>(device->plan().queues));
    std::vector<int> device_fds;
    std::ranges::copy(connection.descriptors(), std::back_inserter(device_fds));
    std::ranges::copy(device->events(), std::back_inserter(device_fds));
    TRY(vcpu_host_->send(announcement, device_fds));
  }
  capnp::MallocMessageBuilder load;
  load.initRoot<schema::ToVcpuHost>().setLoad();
  return vcpu_host_->send(load);
}

Result<> VirtualMachine::lend_kvm() {
  stage_ = Stage::MakingVm;
  capnp::MallocMessageBuilder message;
  auto kvm = message.initRoot<schema::ToVcpuHost>().initKvm();
  kvm.setVcpuMmapBytes(static_cast<std::uint32_t>(host_.kvm.vcpu_mmap_bytes));
  const auto& cpuid = host_.kvm.supported_cpuid;
  kvm.setCpuid(kj::arrayPtr(reinterpret_cast<const kj::byte*>(cpuid.data()), cpuid.size()));
  return vcpu_host_->send(message, std::array{host_.kvm.device.get()});
}

Result<> VirtualMachine::vcpu_host_said(ipc::Frame frame) {
  const auto message = frame.root<schema::FromVcpuHost>();
  const auto out_of_turn = [] { return failure(EPROTO, "it said something out of turn"); };
  switch (message.which()) {
    case schema::FromVcpuHost::LOADED:
      if (stage_ != Stage::Loading) return out_of_turn();
      return lend_kvm();
    case schema::FromVcpuHost::SEALED:
      if (stage_ != Stage::MakingVm || frame.fds.size() != 1u + host_.configuration.cpus) return out_of_turn();
      stage_ = Stage::Sealed;
      vcpu_host_seal_ = ipc::Seal::told(message.getSealed());
      vm_descriptors_ = std::move(frame.fds);
      return device_sealed();
    case schema::FromVcpuHost::FAILED:
      end(Ending::by_failure("vcpu-host", message.getFailed()));
      return {};
    case schema::FromVcpuHost::POWERED_OFF:
      if (stage_ != Stage::Running) return out_of_turn();
      end({Ending::Kind::PoweredOff, {}});
      return {};
    case schema::FromVcpuHost::RESET_REQUESTED:
      if (stage_ != Stage::Running) return out_of_turn();
      end({Ending::Kind::Reset, {}});
      return {};
    case schema::FromVcpuHost::CRASHED:
      if (stage_ != Stage::Running) return out_of_turn();
      end({Ending::Kind::GuestCrashed, "the guest crashed: " + printable(message.getCrashed().cStr())});
      return {};
    case schema::FromVcpuHost::BACK_END_LOST: {
      if (stage_ != Stage::Running && stage_ != Stage::Sealed) return out_of_turn();
      const auto loss = message.getBackEndLost();
      return TRY(device_in(loss.getSlot()))->connection_lost(loss);
    }
    case schema::FromVcpuHost::BACK_END_REPLACED: {
      const auto replacement = message.getBackEndReplaced();
      return TRY(device_in(replacement.getSlot()))->connection_replaced(replacement);
    }
  }
  return out_of_turn();
}

Result<Device*> VirtualMachine::device_in(std::uint16_t slot) {
  if (slot >= devices_.size()) return failure(EPROTO, "it spoke of a device that is not there");
  return devices_[slot].get();
}

Result<> VirtualMachine::device_sealed() {
  if (ending_ || stage_ != Stage::Sealed) return {};
  for (const auto& device : devices_)
    if (!device->sealed()) return {};
  stage_ = Stage::Running;
  if (!suspicion_) deadline_.cancel();
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setStart();
  return vcpu_host_->send(message);
}

// A vcpu-host that does not listen is about to be lost.
void VirtualMachine::reconnect(std::uint16_t slot, const Connection& connection) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setBackEnd(slot);
  static_cast<void>(vcpu_host_->send(message, connection.descriptors()));
}

void VirtualMachine::describe(schema::MachineStatus::Builder status) const {
  status.setName(host_.configuration.name);
  status.setMonitor(::getpid());
  status.setSpawner(host_.spawner.pid());
  host_.seal.tell(status.initSeal());
  const auto& required = host_.configuration.required;
  auto isolation = status.initIsolation();
  isolation.setLandlockAbi(static_cast<std::uint16_t>(host_.configuration.landlock_abi));
  auto layers = isolation.initRequire(static_cast<unsigned>(required.size()));
  for (unsigned i = 0; i < layers.size(); ++i) layers.set(i, required[i]);
  status.setRunning(guest_runs());
  auto processes = status.initProcesses(static_cast<unsigned>(devices_.size() + 1));
  processes[0].setName("vcpu-host");
  processes[0].setPid(vcpu_host_->pid());
  vcpu_host_seal_.tell(processes[0].initSeal());
  for (const auto& device : devices_) device->describe(processes[device->plan().slot + 1u]);
}

Result<> VirtualMachine::restart(const std::string& name, UniqueFd program) {
  const auto found = std::ranges::find(devices_, name, [](const auto& device) { return device->name(); });
  if (found == devices_.end()) return failure(ENODEV, fmt::format("{}: this machine has no such device", name));
  if (!guest_runs()) return failure(EBUSY, "the guest does not run yet");
  return (*found)->restart(std::move(program));
}

void VirtualMachine::press_power_button() {
  if (stage_ != Stage::Running || ending_) return;
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setPowerButton();
  static_cast<void>(vcpu_host_->send(message));  // a vcpu-host that does not listen is about to be lost
}

// Before the guest runs. A back end ends cleanly when its front end goes: then vcpu-host is the one that was lost, or
// is about to say why. What it says within a moment counts for more.
void VirtualMachine::lost(const std::string& name, const sandbox::Exit& exit) {
  Ending ending{Ending::Kind::ChildLost, fmt::format("{} was lost: {}", name, exit.describe())};
  if (!exit.clean() || suspicion_) return end(std::move(ending));
  suspicion_ = std::move(ending);
  if (const auto armed = arm_deadline(kSettle); !armed) end(*suspicion_);
}

void VirtualMachine::end(Ending ending) {
  if (ending_) return;
  ending_ = std::move(ending);
  for (const auto& device : devices_)
    if (device->gaps().times() > 1)
      say(host_.configuration.name, fmt::format("{}: {}", device->name(), device->gaps().describe()));
}

}  // namespace monitor
