// A guest from power-on to power-off or reset: its children, and what the monitor and they say.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/event_loop.h"
#include "monitor/child.h"
#include "monitor/configuration.h"
#include "monitor/exit_status.h"
#include "monitor/kvm_system.h"
#include "monitor/resources.h"
#include "monitor/serial_relay.h"
#include "monitor/way_out.h"

namespace monitor {

struct Programs {
  Program vcpu_host;
  Program blk;
  Program net;  // where there are network cards
};

// What is opened once, and outlasts reboots. All borrowed.
struct Host {
  ipc::EventLoop& loop;
  const Configuration& configuration;
  const Images& images;
  const KvmSystem& kvm;
  const Programs& programs;
  std::span<const std::unique_ptr<WayOut>> ways;  // of the configuration's network cards
  SerialRelay& serial;
};

struct Ending {
  enum class Kind { PoweredOff, Reset, GuestCrashed, ChildLost, BadConfiguration, HostNotAble, InternalError };
  Kind kind;
  std::string reason;  // one line; empty for the first two
};

class VirtualMachine {
 public:
  // Starts the children and tells them what to set up. The guest runs when all of them are sealed.
  static std::expected<std::unique_ptr<VirtualMachine>, Ending> power_on(Host host);
  ~VirtualMachine();  // all children are gone, all serial output is passed on
  VirtualMachine(const VirtualMachine&) = delete;
  VirtualMachine& operator=(const VirtualMachine&) = delete;

  // Set once, from the event loop.
  const std::optional<Ending>& ending() const { return ending_; }

  // Before the guest runs it has no effect.
  void press_power_button();

 private:
  enum class Stage { Loading, MakingVm, Sealed, Running };
  struct BackEnd {
    std::unique_ptr<Child> child;
    bool sealed = false;
    WayOut* way = nullptr;  // of a network card
  };
  // A device as vcpu-host is told of it.
  struct Device {
    std::string name;  // for messages
    std::uint16_t virtio_id;
    ipc::UniqueFd socket;
    std::vector<ipc::UniqueFd> kicks;
    std::vector<ipc::UniqueFd> calls;
    ipc::UniqueFd config_call;
    bool failure_told = false;
  };

  explicit VirtualMachine(Host host) : host_(host) {}
  ipc::Result<> start_children();
  ipc::Result<> start_disk(std::size_t index);
  ipc::Result<> start_card(std::size_t index);
  // Its control messages go to back_end_said().
  ipc::Result<BackEnd*> start_back_end(const std::string& name, const Program& program, const sandbox::Limits& limits);
  ipc::Result<> start_vcpu_host();
  ipc::Result<> set_up_vcpu_host(const ipc::UniqueFd& serial);
  ipc::Result<> add_device(std::string name, std::uint16_t virtio_id, std::uint16_t queues, ipc::UniqueFd socket);
  ipc::Result<> arm_deadline(int seconds);
  std::optional<sandbox::Identity> identity(std::size_t child) const;

  ipc::Result<> vcpu_host_said(ipc::Frame frame);
  ipc::Result<> back_end_said(BackEnd& back_end, ipc::Frame frame);
  ipc::Result<> lend_kvm();
  ipc::Result<> start_if_sealed();
  Child::Listener listener(std::string name, std::function<ipc::Result<>(ipc::Frame)> said);
  void lost(const std::string& name, const sandbox::Exit& exit);
  void end(Ending ending);

  Host host_;
  Stage stage_ = Stage::Loading;
  std::optional<Ending> ending_;
  std::optional<Ending> suspicion_;  // becomes the ending if nothing better comes within a moment
  ipc::UniqueFd deadline_;           // timerfd: until the guest runs, or until a suspicion is confirmed
  std::vector<Device> devices_;
  std::vector<ipc::UniqueFd> vm_descriptors_;  // the VM's and its vCPUs': they live as long as this object
  std::vector<std::unique_ptr<BackEnd>> back_ends_;
  std::unique_ptr<Child> vcpu_host_;  // ends first: back ends see their front end go
};

}  // namespace monitor
