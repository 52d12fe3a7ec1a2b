// What the monitor tells this process and what it is told, typed: the only place here that knows
// ipc/schema/control.capnp.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "ipc/control_channel.h"
#include "ipc/seal.h"
#include "vcpu-host/virtio/back_end_connection.h"

namespace vcpu_host {

struct DeviceSpec {
  std::uint16_t virtio_id;
  BackEndConnection back_end;
  std::vector<ipc::UniqueFd> kicks;  // one eventfd for each queue
  std::vector<ipc::UniqueFd> calls;  // likewise
  ipc::UniqueFd config_call;
};

struct MachineSpec {
  std::uint64_t ram_bytes;
  std::uint32_t cpus;
  std::string cmdline;
  ipc::UniqueFd ram;     // memfd
  ipc::UniqueFd serial;  // stream socket
  ipc::UniqueFd kernel;
  std::optional<ipc::UniqueFd> initrd;
  std::vector<DeviceSpec> devices;  // in the order of their PCI slots
};

struct KvmLoan {
  ipc::UniqueFd kvm;
  std::size_t vcpu_mmap_bytes;
  std::vector<std::byte> supported_cpuid;
};

struct Start {};
struct PowerButton {};
struct Reconnect {
  std::uint16_t slot;
  BackEndConnection back_end;
};
using Order = std::variant<Start, PowerButton, Reconnect>;
enum class FailureKind { Configuration, Host, Internal };

class MonitorLink {
 public:
  explicit MonitorLink(ipc::ControlChannel channel) : channel_(std::move(channel)) {}

  const ipc::UniqueFd& socket() const { return channel_.socket(); }

  // Wait for these, in this order. EPIPE when the monitor has gone, EPROTO for anything else than
  // what is due.
  ipc::Result<MachineSpec> receive_machine();
  ipc::Result<KvmLoan> receive_kvm();
  // The next order of the sealed phase; does not wait (EAGAIN).
  ipc::Result<Order> receive_order();

  ipc::Result<> send_loaded();
  // `fds`: the VM's, then each vCPU's.
  ipc::Result<> send_sealed(const ipc::Seal& seal, std::span<const int> fds);
  ipc::Result<> send_failed(FailureKind kind, const ipc::Error& error);
  ipc::Result<> send_powered_off();
  ipc::Result<> send_reset_requested();
  ipc::Result<> send_crashed(const std::string& reason);
  ipc::Result<> send_back_end_lost(std::uint16_t slot, const std::string& reason, bool needs_reset);
  ipc::Result<> send_back_end_replaced(std::uint16_t slot, std::chrono::microseconds gap);

 private:
  ipc::ControlChannel channel_;
};

}  // namespace vcpu_host
