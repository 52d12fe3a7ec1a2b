#include "monitor/virtual_machine.h"

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "monitor/message.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

constexpr std::uint16_t kVirtioNetwork = 1;
constexpr std::uint16_t kVirtioBlock = 2;
constexpr int kSetupSeconds = 120;  // a large kernel on a slow, loaded host
constexpr int kSettleSeconds = 1;   // between a cause and its effect in another process
// A child that seals itself compiles its filters through a memfd, for which RLIMIT_FSIZE holds too.
constexpr std::uint64_t kScratchBytes = 64 * 1024;
constexpr std::uint64_t kInflightBytes = 16 * 1024;  // more than a queue's record of what is in flight takes
constexpr std::uint64_t kCardBytes = 4 << 20;
constexpr uid_t kFirstUid = 0x70000000;
constexpr uid_t kUidsPerMachine = 64;  // a child for each of 31 devices, vcpu-host

struct Pair {
  UniqueFd front_end, back_end;
};

Result<Pair> vhost_user_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return ipc::system_failure("make a vhost-user socket");
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// How long to wait before a back end is replaced: not at all if it has served for a while; otherwise longer each time,
// as what it died of may come again at once.
constexpr std::chrono::milliseconds kServedWell{100};
constexpr std::chrono::milliseconds kLeastPatience{10};
constexpr std::chrono::milliseconds kMostPatience{2000};
// One that ended by itself has seen its front end go, and the machine is about to end.
constexpr std::chrono::milliseconds kAfterCleanEnd{50};
// One that vcpu-host has dropped ends by itself, or never.
constexpr std::chrono::milliseconds kToEnd{1000};

// What a guest can bring about at will must not fill the operator's log.
bool worth_saying(unsigned times) {
  return times <= 16 || std::has_single_bit(times);
}

// Virtio 1.2, 5.1.2: two for each pair, and a control queue.
std::uint16_t rings_of(const NetConfiguration& card) {
  return static_cast<std::uint16_t>(2 * card.queue_pairs + 1);
}

Ending::Kind to_ending(schema::Failure::Kind kind) {
  switch (kind) {
    case schema::Failure::Kind::CONFIGURATION:
      return Ending::Kind::BadConfiguration;
    case schema::Failure::Kind::HOST:
      return Ending::Kind::HostNotAble;
    case schema::Failure::Kind::INTERNAL:
      break;
  }
  return Ending::Kind::InternalError;
}

// What a child says of its failure, and `name`, as one line.
Ending failed(const std::string& name, schema::Failure::Reader failure) {
  ipc::Error error{failure.getCode(), printable(failure.getContext().cStr())};
  if (error.context.empty()) error.context = "it failed and gave no reason";
  const auto kind = to_ending(failure.getKind());
  if (kind == Ending::Kind::BadConfiguration) return {kind, ipc::describe(error)};
  return {kind, fmt::format("{}: {}", name, ipc::describe(error))};
}

}  // namespace

std::expected<std::unique_ptr<VirtualMachine>, Ending> VirtualMachine::power_on(Host host) {
  std::unique_ptr<VirtualMachine> machine(new VirtualMachine(host));
  const auto started = machine->start_children();
  if (!started) return std::unexpected(Ending{Ending::Kind::HostNotAble, ipc::describe(started.error())});
  return machine;
}

VirtualMachine::~VirtualMachine() {
  if (deadline_) host_.loop.unwatch(deadline_);
  vcpu_host_.reset();
  host_.serial.detach();
  for (const auto& way : host_.ways) way->detach();
  devices_.clear();
}

Result<> VirtualMachine::start_children() {
  TRY(arm_deadline(kSetupSeconds));
  for (std::size_t i = 0; i < host_.configuration.disks.size(); ++i)
    TRY(add_device(fmt::format("blk{}", i), kVirtioBlock, host_.configuration.disks[i].queues, nullptr,
                   [this, i](Device& device) { return start_disk(device, i); }));
  for (std::size_t i = 0; i < host_.configuration.nets.size(); ++i)
    TRY(add_device(fmt::format("net{}", i), kVirtioNetwork, rings_of(host_.configuration.nets[i]), host_.ways[i].get(),
                   [this, i](Device& device) { return start_card(device, i); }));
  for (const DeviceConfiguration& device : host_.configuration.devices)
    TRY(add_device(device.socket, device.id, device.queues, nullptr,
                   [&device](Device&) { return connect_back_end(device.socket); }));
  return start_vcpu_host();
}

Result<> VirtualMachine::add_device(const std::string& name, std::uint16_t virtio_id, std::size_t queues, WayOut* way,
                                    std::function<Result<UniqueFd>(Device&)> find_back_end) {
  Device& device = *devices_.emplace_back(std::make_unique<Device>(host_.loop, name));
  device.slot = static_cast<std::uint16_t>(devices_.size() - 1);
  device.virtio_id = virtio_id;
  device.way = way;
  device.find_back_end = [&device, find = std::move(find_back_end)] { return find(device); };
  for (std::size_t i = 0; i < queues; ++i) {
    device.kicks.push_back(TRY(make_event()));
    device.calls.push_back(TRY(make_event()));
  }
  device.config_call = TRY(make_event());
  return {};
}

Result<> VirtualMachine::arm_deadline(int seconds) {
  if (deadline_) host_.loop.unwatch(deadline_);
  deadline_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_nsec = 0}};
  if (!deadline_ || ::timerfd_settime(deadline_.get(), 0, &when, nullptr) != 0)
    return ipc::system_failure("make a timer");
  return host_.loop.watch(deadline_, [this, seconds] {
    // An older descriptor of the same number may have woken us.
    std::uint64_t expirations = 0;
    if (::read(deadline_.get(), &expirations, sizeof expirations) != sizeof expirations) return;
    end(suspicion_.value_or(
        Ending{Ending::Kind::InternalError, fmt::format("the machine was not ready within {} s", seconds)}));
  });
}

// Unique among the machines of this host while we live, as our pid is: see docs/architecture.md.
std::optional<sandbox::Identity> VirtualMachine::identity(std::size_t child) const {
  if (::geteuid() != 0) return std::nullopt;
  const auto id = kFirstUid + static_cast<uid_t>(::getpid()) * kUidsPerMachine + static_cast<uid_t>(child);
  return sandbox::Identity{id, id};
}

Result<> VirtualMachine::start_back_end(Device& device, const Program& program, const sandbox::Limits& limits) {
  device.sealed = false;
  if (device.trial == Device::Trial::Due) device.trial = Device::Trial::Running;
  Child::Listener listener{
      .said =
          [this, &device](ipc::Frame frame) {
            if (ending_) return;
            const auto handled = ipc::guarded([&] { return back_end_said(device, std::move(frame)); });
            if (!handled) back_end_misbehaved(device, handled.error());
          },
      .broke_protocol = [this, &device](const ipc::Error& error) { back_end_misbehaved(device, error); },
      .ended = [this, &device](const sandbox::Exit& exit) { back_end_ended(device, exit); },
  };
  device.child =
      TRY(Child::start(host_.loop, host_.configuration.name, device.name, device.program ? *device.program : program,
                       identity(device.slot), limits, std::move(listener)));
  return {};
}

Result<UniqueFd> VirtualMachine::start_disk(Device& device, std::size_t index) {
  const DiskConfiguration& disk = host_.configuration.disks[index];
  const Image& image = host_.images.disks[index];
  Pair sockets = TRY(vhost_user_pair());
  // It writes inside its image, never beyond.
  const sandbox::Limits limits{
      .open_files = 64u + 4u * disk.queues,
      .file_bytes = std::max(disk.readonly ? 0 : image.bytes, kScratchBytes + disk.queues * kInflightBytes)};
  TRY(start_back_end(device, host_.programs.blk, limits));

  capnp::MallocMessageBuilder message;
  auto block = message.initRoot<schema::ToBackend>().initBlock();
  block.setReadonly(disk.readonly);
  block.setSerial(disk.serial);
  block.setQueues(disk.queues);
  std::vector<int> fds{image.direct ? image.direct.get() : image.file.get(), sockets.back_end.get()};
  if (const UniqueFd* operators = operators_of(device)) fds.push_back(operators->get());
  block.setHasOperators(fds.size() == 3);
  block.setUnaligned(static_cast<bool>(image.direct));
  block.setDirectOnly(disk.cache == schema::Disk::Cache::DIRECT);
  if (image.direct) fds.push_back(image.file.get());
  TRY(device.child->send(message, fds));
  return std::move(sockets.front_end);
}

Result<UniqueFd> VirtualMachine::start_card(Device& device, std::size_t index) {
  const NetConfiguration& card = host_.configuration.nets[index];
  WayOut& way = *device.way;
  Pair sockets = TRY(vhost_user_pair());
  // Telemetry, the in-flight region and a filter's program are all the files that it makes.
  const sandbox::Limits limits{.open_files = 64u + 6u * rings_of(card), .file_bytes = kCardBytes};
  TRY(start_back_end(device, host_.programs.net, limits));
  const auto links = TRY(way.attach([&device](UniqueFd link) {
    capnp::MallocMessageBuilder message;
    message.initRoot<schema::ToBackend>().setLink();
    static_cast<void>(
        device.child->send(message, std::array{link.get()}));  // one that does not listen is about to be lost
  }));

  capnp::MallocMessageBuilder message;
  auto network = message.initRoot<schema::ToBackend>().initNetwork();
  network.setKind(way.kind());
  network.setMac(kj::arrayPtr(card.mac.bytes.data(), card.mac.bytes.size()));
  network.setMtu(card.mtu);
  network.setQueuePairs(card.queue_pairs);
  auto policy = network.initPolicy();
  policy.setOwnMacOnly(card.own_mac_only);
  policy.setAddressesOnly(!card.ipv4.empty() || !card.ipv6.empty());
  const auto fill = [](auto list, const std::vector<std::string>& texts) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, texts[i]);
  };
  fill(policy.initIpv4(static_cast<unsigned>(card.ipv4.size())), card.ipv4);
  fill(policy.initIpv6(static_cast<unsigned>(card.ipv6.size())), card.ipv6);
  policy.initFlood().setPerSecond(card.flood);
  network.setName(way.describe());
  std::vector<int> fds{sockets.back_end.get()};
  if (const UniqueFd* operators = operators_of(device)) fds.push_back(operators->get());
  network.setHasOperators(fds.size() == 2);
  for (const UniqueFd& link : links) fds.push_back(link.get());
  TRY(device.child->send(message, fds));
  return std::move(sockets.front_end);
}

Result<> VirtualMachine::start_vcpu_host() {
  std::size_t descriptors = 64 + 2u * host_.configuration.cpus;
  for (const auto& device : devices_) descriptors += 12 + 2 * device->kicks.size();
  const sandbox::Limits limits{
      .open_files = descriptors, .file_bytes = kScratchBytes, .threads = 8u + host_.configuration.cpus};
  vcpu_host_ = TRY(Child::start(
      host_.loop, host_.configuration.name, "vcpu-host", host_.programs.vcpu_host, identity(devices_.size()), limits,
      {.said =
           [this](ipc::Frame frame) {
             if (ending_) return;
             const auto handled = ipc::guarded([&] { return vcpu_host_said(std::move(frame)); });
             if (!handled) end({Ending::Kind::InternalError, "vcpu-host: " + ipc::describe(handled.error())});
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
    device->found = std::chrono::steady_clock::now();
    const UniqueFd socket = TRY(device->find_back_end());
    const Pair requests = TRY(vhost_user_pair());
    ++device->connections;
    capnp::MallocMessageBuilder announcement;
    auto body = announcement.initRoot<schema::ToVcpuHost>().initDevice();
    body.setVirtioId(device->virtio_id);
    body.setQueues(static_cast<std::uint16_t>(device->kicks.size()));
    std::vector<int> device_fds{socket.get(), requests.front_end.get(), requests.back_end.get()};
    for (const UniqueFd& kick : device->kicks) device_fds.push_back(kick.get());
    for (const UniqueFd& call : device->calls) device_fds.push_back(call.get());
    device_fds.push_back(device->config_call.get());
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
      vm_descriptors_ = std::move(frame.fds);
      return start_if_sealed();
    case schema::FromVcpuHost::FAILED:
      end(failed("vcpu-host", message.getFailed()));
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
    case schema::FromVcpuHost::BACK_END_LOST:
      return back_end_lost(message.getBackEndLost());
    case schema::FromVcpuHost::BACK_END_REPLACED:
      return back_end_replaced(message.getBackEndReplaced());
  }
  return out_of_turn();
}

Result<> VirtualMachine::back_end_said(Device& device, ipc::Frame frame) {
  const auto message = frame.root<schema::FromBackend>();
  switch (message.which()) {
    case schema::FromBackend::SEALED:
      if (std::exchange(device.sealed, true)) break;
      device.trial = Device::Trial::Passed;
      return start_if_sealed();
    case schema::FromBackend::FAILED: {
      Ending ending = failed(device.name, message.getFailed());
      if (stage_ == Stage::Running)
        device.cause = std::move(ending.reason);  // its end follows
      else
        end(std::move(ending));
      return {};
    }
    case schema::FromBackend::LINK_LOST:
      if (device.way == nullptr) break;
      device.way->lost();
      return {};
  }
  return failure(EPROTO, "it said something out of turn");
}

Result<> VirtualMachine::start_if_sealed() {
  if (stage_ != Stage::Sealed) return {};
  for (const auto& device : devices_)
    if (!device->sealed) return {};
  stage_ = Stage::Running;
  if (!suspicion_) {
    host_.loop.unwatch(deadline_);
    deadline_ = UniqueFd();
  }
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setStart();
  return vcpu_host_->send(message);
}

// A sandboxed process that says what it must not is done with, whoever made it do so.
void VirtualMachine::back_end_misbehaved(Device& device, const ipc::Error& error) {
  if (stage_ != Stage::Running)
    return end({Ending::Kind::InternalError, fmt::format("{}: {}", device.name, ipc::describe(error))});
  device.cause = ipc::describe(error);
  device.child->kill();
}

void VirtualMachine::give_up_program(Device& device) {
  if (!device.program || device.trial != Device::Trial::Running) return;
  device.program.reset();
  say(host_.configuration.name,
      fmt::format("{}: the new program does not serve ({}); the old one is started again", device.name, device.cause));
}

void VirtualMachine::back_end_ended(Device& device, const sandbox::Exit& exit) {
  if (stage_ != Stage::Running) return lost(device.name, exit);
  if (device.cause.empty()) device.cause = exit.describe();
  give_up_program(device);
  replace(device, exit.clean() ? kAfterCleanEnd : std::chrono::milliseconds(0));
}

// Every connection that vcpu-host is given it loses once: what it says of an older one has been dealt with.
Result<> VirtualMachine::back_end_lost(schema::BackEndLoss::Reader loss) {
  if (stage_ != Stage::Running && stage_ != Stage::Sealed) return failure(EPROTO, "it said something out of turn");
  if (loss.getSlot() >= devices_.size()) return failure(EPROTO, "it spoke of a device that is not there");
  Device& device = *devices_[loss.getSlot()];
  if (++device.losses > device.connections) return failure(EPROTO, "it lost a connection that it never had");
  const std::string reason = printable(loss.getReason().cStr());
  if (loss.getNeedsReset() && worth_saying(device.losses))
    say(host_.configuration.name,
        fmt::format("{}: the guest goes on without it until it resets it: {}", device.name, reason));
  if (device.losses != device.connections) return {};
  if (loss.getNeedsReset()) device.cause = reason;
  if (!device.child) {
    device.cause = reason;
    replace(device);
    return {};
  }
  return device.retry.after(kToEnd, [&device, reason] {
    device.cause = reason;
    device.child->kill();
  });
}

void VirtualMachine::replace(Device& device, std::chrono::milliseconds at_least) {
  if (device.way != nullptr) device.way->detach();
  if (std::chrono::steady_clock::now() - device.found >= kServedWell) device.patience = {};
  const auto delay = std::max(device.patience, at_least);
  device.patience = std::clamp(2 * device.patience, kLeastPatience, kMostPatience);
  const auto armed = device.retry.after(delay, [this, &device] { find_another(device); });
  if (!armed) end({Ending::Kind::InternalError, fmt::format("{}: {}", device.name, ipc::describe(armed.error()))});
}

void VirtualMachine::find_another(Device& device) {
  device.child.reset();
  device.found = std::chrono::steady_clock::now();
  auto given = [&]() -> Result<> {
    const UniqueFd socket = TRY(device.find_back_end());
    const Pair requests = TRY(vhost_user_pair());
    capnp::MallocMessageBuilder message;
    message.initRoot<schema::ToVcpuHost>().setBackEnd(device.slot);
    ++device.connections;
    // A vcpu-host that does not listen is about to be lost.
    static_cast<void>(
        vcpu_host_->send(message, std::array{socket.get(), requests.front_end.get(), requests.back_end.get()}));
    return {};
  }();
  if (given) return;
  give_up_program(device);
  if (worth_saying(++device.failures))
    say(host_.configuration.name,
        fmt::format("{}: {}; no other yet: {}", device.name, device.cause, ipc::describe(given.error())));
  replace(device);
}

Result<> VirtualMachine::back_end_replaced(schema::BackEndReplacement::Reader replacement) {
  if (replacement.getSlot() >= devices_.size()) return failure(EPROTO, "it spoke of a device that is not there");
  Device& device = *devices_[replacement.getSlot()];
  // At most once for each connection but the first.
  if (++device.replacements >= device.connections)
    return failure(EPROTO, "it spoke of a back end that it was not given");
  constexpr std::uint64_t kMostGap = std::uint64_t{1} << 40;
  const std::chrono::microseconds gap(std::min(replacement.getGapMicroseconds(), kMostGap));
  device.gaps.add(gap);
  const std::string cause = std::exchange(device.cause, {});
  device.last_cause = cause;
  device.failures = 0;
  const unsigned times = device.connections - 1;
  if (worth_saying(times))
    say(host_.configuration.name, fmt::format("{}: lost ({}), and back after {:.1f} ms (restart {})", device.name,
                                              cause, static_cast<double>(gap.count()) / 1000, times));
  return {};
}

const UniqueFd* VirtualMachine::operators_of(const Device& device) const {
  return device.slot < host_.operators.size() ? &host_.operators[device.slot] : nullptr;
}

void VirtualMachine::describe(schema::MachineStatus::Builder status) const {
  status.setName(host_.configuration.name);
  status.setMonitor(::getpid());
  status.setRunning(stage_ == Stage::Running);
  auto processes = status.initProcesses(static_cast<unsigned>(devices_.size() + 1));
  processes[0].setName("vcpu-host");
  processes[0].setPid(vcpu_host_->pid());
  for (const auto& device : devices_) {
    auto process = processes[device->slot + 1u];
    process.setName(device->name);
    process.setPid(device->child ? device->child->pid() : 0);
    process.setRestarts(device->connections - 1);
    process.setCause(device->last_cause);
    if (device->gaps.times() > 0) process.setGaps(device->gaps.describe());
  }
}

Result<> VirtualMachine::restart(const std::string& name, UniqueFd program) {
  const auto found = std::ranges::find(devices_, name, [](const auto& device) { return device->name; });
  if (found == devices_.end()) return failure(ENODEV, fmt::format("{}: this machine has no such device", name));
  Device& device = **found;
  if (stage_ != Stage::Running) return failure(EBUSY, "the guest does not run yet");
  if (!device.child)
    return failure(EOPNOTSUPP, fmt::format("{}: its back end is another program's, or being replaced", name));
  if (program) {
    device.program =
        Program{.name = device.virtio_id == kVirtioBlock ? host_.programs.blk.name : host_.programs.net.name,
                .file = std::move(program)};
    device.trial = Device::Trial::Due;
  }
  device.cause = "asked by the operator";
  device.child->kill();
  return {};
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
  if (const auto armed = arm_deadline(kSettleSeconds); !armed) end(*suspicion_);
}

void VirtualMachine::end(Ending ending) {
  if (ending_) return;
  ending_ = std::move(ending);
  for (const auto& device : devices_)
    if (device->gaps.times() > 1)
      say(host_.configuration.name, fmt::format("{}: {}", device->name, device->gaps.describe()));
}

}  // namespace monitor
