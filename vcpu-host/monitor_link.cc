#include "vcpu-host/monitor_link.h"

#include "ipc/schema/control.capnp.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {

using ipc::failure;
using ipc::Frame;
using ipc::Result;
using ipc::UniqueFd;
using ipc::schema::FromVcpuHost;
using ipc::schema::ToVcpuHost;

namespace {

Result<Frame> next_frame(ipc::ControlChannel& channel, bool wait) {
  std::optional<Frame> frame = TRY(channel.receive(wait));
  if (!frame) return failure(EPIPE, "the monitor has gone");
  return std::move(*frame);
}

std::unexpected<ipc::Error> not_due(const char* due) {
  return failure(EPROTO, fmt::format("the monitor sent something else than {}", due));
}

// The first descriptors of a frame.
constexpr std::size_t kConnectionFds = 3;
BackEndConnection take_connection(Frame& frame) {
  return {.socket = std::move(frame.fds[0]), .requests = std::move(frame.fds[1]), .requester = std::move(frame.fds[2])};
}

Result<DeviceSpec> parse_device(ToVcpuHost::Reader message, Frame& frame) {
  const auto device = message.getDevice();
  const std::size_t queues = device.getQueues();
  if (frame.fds.size() != kConnectionFds + 2 * queues + 1) return not_due("a device with its descriptors");
  DeviceSpec spec{.virtio_id = device.getVirtioId(),
                  .back_end = take_connection(frame),
                  .kicks = {},
                  .calls = {},
                  .config_call = std::move(frame.fds.back())};
  for (std::size_t i = 0; i < queues; ++i) {
    spec.kicks.push_back(std::move(frame.fds[kConnectionFds + i]));
    spec.calls.push_back(std::move(frame.fds[kConnectionFds + queues + i]));
  }
  return spec;
}

}  // namespace

Result<MachineSpec> MonitorLink::receive_machine() {
  return ipc::guarded([&]() -> Result<MachineSpec> {
    Frame frame = TRY(next_frame(channel_, true));
    const auto message = frame.root<ToVcpuHost>();
    if (!message.isSetup()) return not_due("the machine's setup");
    const auto setup = message.getSetup();
    if (frame.fds.size() != (setup.getHasInitrd() ? 4u : 3u)) return not_due("the setup's descriptors");
    MachineSpec spec{.ram_bytes = setup.getMemoryMib() * layout::kMib,
                     .cpus = setup.getCpus(),
                     .cmdline = std::string(setup.getCmdline()),
                     .ram = std::move(frame.fds[0]),
                     .serial = std::move(frame.fds[1]),
                     .kernel = std::move(frame.fds[2]),
                     .initrd = std::nullopt,
                     .devices = {}};
    if (setup.getHasInitrd()) spec.initrd = std::move(frame.fds[3]);
    for (;;) {
      Frame next = TRY(next_frame(channel_, true));
      const auto order = next.root<ToVcpuHost>();
      if (order.isLoad()) return spec;
      if (!order.isDevice()) return not_due("a device or `load`");
      spec.devices.push_back(TRY(parse_device(order, next)));
    }
  });
}

Result<KvmLoan> MonitorLink::receive_kvm() {
  return ipc::guarded([&]() -> Result<KvmLoan> {
    Frame frame = TRY(next_frame(channel_, true));
    const auto message = frame.root<ToVcpuHost>();
    if (!message.isKvm() || frame.fds.size() != 1) return not_due("/dev/kvm");
    const auto cpuid = message.getKvm().getCpuid();
    const auto bytes = std::as_bytes(std::span(cpuid.begin(), cpuid.size()));
    return KvmLoan{.kvm = std::move(frame.fds[0]),
                   .vcpu_mmap_bytes = message.getKvm().getVcpuMmapBytes(),
                   .supported_cpuid = {bytes.begin(), bytes.end()}};
  });
}

Result<Order> MonitorLink::receive_order() {
  return ipc::guarded([&]() -> Result<Order> {
    Frame frame = TRY(next_frame(channel_, false));
    const auto message = frame.root<ToVcpuHost>();
    if (message.isStart()) return Start{};
    if (message.isPowerButton()) return PowerButton{};
    if (message.isBackEnd() && frame.fds.size() == kConnectionFds)
      return Reconnect{.slot = message.getBackEnd(), .back_end = take_connection(frame)};
    return not_due("an order");
  });
}

Result<> MonitorLink::send_loaded() {
  capnp::MallocMessageBuilder message;
  message.initRoot<FromVcpuHost>().setLoaded();
  return channel_.send(message);
}

Result<> MonitorLink::send_sealed(const ipc::Seal& seal, std::span<const int> fds) {
  capnp::MallocMessageBuilder message;
  seal.tell(message.initRoot<FromVcpuHost>().initSealed());
  return channel_.send(message, fds);
}

Result<> MonitorLink::send_failed(FailureKind kind, const ipc::Error& error) {
  capnp::MallocMessageBuilder message;
  auto failed = message.initRoot<FromVcpuHost>().initFailed();
  failed.setCode(error.code);
  failed.setContext(error.context);
  switch (kind) {
    case FailureKind::Configuration:
      failed.setKind(ipc::schema::Failure::Kind::CONFIGURATION);
      break;
    case FailureKind::Host:
      failed.setKind(ipc::schema::Failure::Kind::HOST);
      break;
    case FailureKind::Internal:
      failed.setKind(ipc::schema::Failure::Kind::INTERNAL);
      break;
  }
  return channel_.send(message);
}

Result<> MonitorLink::send_powered_off() {
  capnp::MallocMessageBuilder message;
  message.initRoot<FromVcpuHost>().setPoweredOff();
  return channel_.send(message);
}

Result<> MonitorLink::send_reset_requested() {
  capnp::MallocMessageBuilder message;
  message.initRoot<FromVcpuHost>().setResetRequested();
  return channel_.send(message);
}

Result<> MonitorLink::send_crashed(const std::string& reason) {
  capnp::MallocMessageBuilder message;
  message.initRoot<FromVcpuHost>().setCrashed(reason);
  return channel_.send(message);
}

Result<> MonitorLink::send_back_end_lost(std::uint16_t slot, const std::string& reason, bool needs_reset) {
  capnp::MallocMessageBuilder message;
  auto lost = message.initRoot<FromVcpuHost>().initBackEndLost();
  lost.setSlot(slot);
  lost.setReason(reason);
  lost.setNeedsReset(needs_reset);
  return channel_.send(message);
}

Result<> MonitorLink::send_back_end_replaced(std::uint16_t slot, std::chrono::microseconds gap) {
  capnp::MallocMessageBuilder message;
  auto replaced = message.initRoot<FromVcpuHost>().initBackEndReplaced();
  replaced.setSlot(slot);
  replaced.setGapMicroseconds(static_cast<std::uint64_t>(gap.count()));
  return channel_.send(message);
}

}  // namespace vcpu_host
