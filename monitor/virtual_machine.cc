#include "monitor/virtual_machine.h"

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>

#include "ipc/schema/control.capnp.h"
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
  back_ends_.clear();
}

Result<> VirtualMachine::start_children() {
  TRY(arm_deadline(kSetupSeconds));
  for (std::size_t i = 0; i < host_.configuration.disks.size(); ++i) TRY(start_disk(i));
  for (std::size_t i = 0; i < host_.configuration.nets.size(); ++i) TRY(start_card(i));
  for (const DeviceConfiguration& device : host_.configuration.devices) {
    UniqueFd socket = TRY(connect_back_end(device.socket));
    TRY(add_device(device.socket, device.id, device.queues, std::move(socket)));
  }
  return start_vcpu_host();
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

Child::Listener VirtualMachine::listener(std::string name, std::function<Result<>(ipc::Frame)> said) {
  return {
      .said =
          [this, name, said = std::move(said)](ipc::Frame frame) {
            if (ending_) return;
            const auto handled = ipc::guarded([&] { return said(std::move(frame)); });
            if (!handled)
              end({Ending::Kind::InternalError, fmt::format("{}: {}", name, ipc::describe(handled.error()))});
          },
      .broke_protocol =
          [this, name](const ipc::Error& error) {
            end({Ending::Kind::InternalError, fmt::format("{}: {}", name, ipc::describe(error))});
          },
      .ended = [this, name](const sandbox::Exit& exit) { lost(name, exit); },
  };
}

Result<VirtualMachine::BackEnd*> VirtualMachine::start_back_end(const std::string& name, const Program& program,
                                                                const sandbox::Limits& limits) {
  const std::size_t number = back_ends_.size();
  auto& back_end = *back_ends_.emplace_back(std::make_unique<BackEnd>());
  back_end.child = TRY(Child::start(
      host_.loop, host_.configuration.name, name, program, identity(number), limits,
      listener(name, [this, &back_end](ipc::Frame frame) { return back_end_said(back_end, std::move(frame)); })));
  return &back_end;
}

Result<> VirtualMachine::start_disk(std::size_t index) {
  const DiskConfiguration& disk = host_.configuration.disks[index];
  const Image& image = host_.images.disks[index];
  Pair sockets = TRY(vhost_user_pair());
  const std::string name = fmt::format("blk{}", index);
  // It writes inside its image, never beyond.
  const sandbox::Limits limits{.open_files = 64u + 4u * disk.queues,
                               .file_bytes = std::max(disk.readonly ? 0 : image.bytes, kScratchBytes)};
  BackEnd& back_end = *TRY(start_back_end(name, host_.programs.blk, limits));

  capnp::MallocMessageBuilder message;
  auto block = message.initRoot<schema::ToBackend>().initBlock();
  block.setReadonly(disk.readonly);
  block.setSerial(disk.serial);
  block.setQueues(disk.queues);
  TRY(back_end.child->send(message, std::array{image.file.get(), sockets.back_end.get()}));
  return add_device(fmt::format("{} ({})", name, disk.path), kVirtioBlock, disk.queues, std::move(sockets.front_end));
}

Result<> VirtualMachine::start_card(std::size_t index) {
  const NetConfiguration& card = host_.configuration.nets[index];
  WayOut& way = *host_.ways[index];
  Pair sockets = TRY(vhost_user_pair());
  const std::string name = fmt::format("net{}", index);
  const auto rings = static_cast<std::uint16_t>(2 * card.queue_pairs + 1);  // virtio 1.2, 5.1.2: and a control queue
  // Telemetry, the in-flight region and a filter's program are all the files that it makes.
  const sandbox::Limits limits{.open_files = 64u + 6u * rings, .file_bytes = kCardBytes};
  BackEnd& back_end = *TRY(start_back_end(name, host_.programs.net, limits));
  back_end.way = &way;
  const auto links = TRY(way.attach([&back_end](UniqueFd link) {
    capnp::MallocMessageBuilder message;
    message.initRoot<schema::ToBackend>().setLink();
    static_cast<void>(
        back_end.child->send(message, std::array{link.get()}));  // one that does not listen is about to be lost
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
  std::vector<int> fds{sockets.back_end.get()};
  for (const UniqueFd& link : links) fds.push_back(link.get());
  TRY(back_end.child->send(message, fds));
  return add_device(name, kVirtioNetwork, rings, std::move(sockets.front_end));
}

Result<> VirtualMachine::add_device(std::string name, std::uint16_t virtio_id, std::uint16_t queues, UniqueFd socket) {
  Device device{.name = std::move(name),
                .virtio_id = virtio_id,
                .socket = std::move(socket),
                .kicks = {},
                .calls = {},
                .config_call = TRY(make_event())};
  for (std::uint16_t i = 0; i < queues; ++i) {
    device.kicks.push_back(TRY(make_event()));
    device.calls.push_back(TRY(make_event()));
  }
  devices_.push_back(std::move(device));
  return {};
}

Result<> VirtualMachine::start_vcpu_host() {
  std::size_t descriptors = 64 + 2u * host_.configuration.cpus;
  for (const Device& device : devices_) descriptors += 8 + 2 * device.kicks.size();
  const sandbox::Limits limits{
      .open_files = descriptors, .file_bytes = kScratchBytes, .threads = 8u + host_.configuration.cpus};
  vcpu_host_ = TRY(Child::start(
      host_.loop, host_.configuration.name, "vcpu-host", host_.programs.vcpu_host, identity(back_ends_.size()), limits,
      listener("vcpu-host", [this](ipc::Frame frame) { return vcpu_host_said(std::move(frame)); })));
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

  for (Device& device : devices_) {
    capnp::MallocMessageBuilder announcement;
    auto body = announcement.initRoot<schema::ToVcpuHost>().initDevice();
    body.setVirtioId(device.virtio_id);
    body.setQueues(static_cast<std::uint16_t>(device.kicks.size()));
    std::vector<int> device_fds{device.socket.get()};
    for (const UniqueFd& kick : device.kicks) device_fds.push_back(kick.get());
    for (const UniqueFd& call : device.calls) device_fds.push_back(call.get());
    device_fds.push_back(device.config_call.get());
    TRY(vcpu_host_->send(announcement, device_fds));
    device.socket = UniqueFd();  // ours no more: the back end must see when the front end goes
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
    case schema::FromVcpuHost::DEVICE_FAILED: {
      const auto device = message.getDeviceFailed();
      if (stage_ != Stage::Running || device.getSlot() >= devices_.size()) return out_of_turn();
      // Once for each device: what a guest can repeat at will must not fill the operator's log.
      if (!std::exchange(devices_[device.getSlot()].failure_told, true))
        say(host_.configuration.name,
            fmt::format("{}: the guest goes on without it: {}", devices_[device.getSlot()].name,
                        printable(device.getReason().cStr())));
      return {};
    }
  }
  return out_of_turn();
}

Result<> VirtualMachine::back_end_said(BackEnd& back_end, ipc::Frame frame) {
  const auto message = frame.root<schema::FromBackend>();
  switch (message.which()) {
    case schema::FromBackend::SEALED:
      if (std::exchange(back_end.sealed, true)) break;
      return start_if_sealed();
    case schema::FromBackend::FAILED:
      end(failed(back_end.child->name(), message.getFailed()));
      return {};
    case schema::FromBackend::LINK_LOST:
      if (back_end.way == nullptr) break;
      back_end.way->lost();
      return {};
  }
  return failure(EPROTO, "it said something out of turn");
}

Result<> VirtualMachine::start_if_sealed() {
  if (stage_ != Stage::Sealed) return {};
  for (const auto& back_end : back_ends_)
    if (!back_end->sealed) return {};
  stage_ = Stage::Running;
  if (!suspicion_) {
    host_.loop.unwatch(deadline_);
    deadline_ = UniqueFd();
  }
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setStart();
  return vcpu_host_->send(message);
}

void VirtualMachine::press_power_button() {
  if (stage_ != Stage::Running || ending_) return;
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::ToVcpuHost>().setPowerButton();
  static_cast<void>(vcpu_host_->send(message));  // a vcpu-host that does not listen is about to be lost
}

// A back end ends cleanly when its front end goes: then vcpu-host is the one that was lost, or is about to
// say why. What it says within a moment counts for more.
void VirtualMachine::lost(const std::string& name, const sandbox::Exit& exit) {
  Ending ending{Ending::Kind::ChildLost, fmt::format("{} was lost: {}", name, exit.describe())};
  if (!exit.clean() || suspicion_) return end(std::move(ending));
  suspicion_ = std::move(ending);
  if (const auto armed = arm_deadline(kSettleSeconds); !armed) end(*suspicion_);
}

void VirtualMachine::end(Ending ending) {
  if (!ending_) ending_ = std::move(ending);
}

}  // namespace monitor
