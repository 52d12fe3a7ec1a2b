// A guest from power-on to power-off or reset: its children, and what the monitor and they say. A back end that ends
// is replaced while the guest runs; vcpu-host's end is the machine's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/event_loop.h"
#include "ipc/schema/control.capnp.h"
#include "ipc/schema/machine_control.capnp.h"
#include "monitor/child.h"
#include "monitor/configuration.h"
#include "monitor/exit_status.h"
#include "monitor/gaps.h"
#include "monitor/kvm_system.h"
#include "monitor/resources.h"
#include "monitor/retry.h"
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
  std::span<const ipc::UniqueFd> operators;       // where they connect: of each disk, then of each card; empty: none
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

  void describe(ipc::schema::MachineStatus::Builder status) const;
  // Has the device of this name get another back end: of `program`, or of the program that it had if that is empty.
  // ENODEV if there is no such device; EOPNOTSUPP for somebody else's back end; EBUSY before the guest runs.
  ipc::Result<> restart(const std::string& device, ipc::UniqueFd program);

 private:
  enum class Stage { Loading, MakingVm, Sealed, Running };

  // One device of the guest, and the process behind it, which may be replaced any number of times.
  struct Device {
    Device(ipc::EventLoop& loop, std::string device_name) : name(std::move(device_name)), retry(loop) {}
    const std::string name;  // "blk0", or the socket of somebody else's back end
    std::uint16_t slot = 0;  // its place in devices_
    std::uint16_t virtio_id = 0;
    std::vector<ipc::UniqueFd> kicks;
    std::vector<ipc::UniqueFd> calls;
    ipc::UniqueFd config_call;
    WayOut* way = nullptr;  // of a network card
    // Starts a back end, or connects to somebody else's: vcpu-host's end of the socket.
    std::function<ipc::Result<ipc::UniqueFd>()> find_back_end;

    std::unique_ptr<Child> child;                                  // none: somebody else's
    std::optional<Program> program;                                // an operator's, in place of ours
    enum class Trial { Due, Running, Passed } trial = Trial::Due;  // of that
    bool sealed = true;                                            // or not ours to wait for
    std::chrono::steady_clock::time_point found;
    unsigned connections = 0;  // that vcpu-host was given, and of those that it said it lost
    unsigned losses = 0;
    unsigned replacements = 0;  // that it told of
    std::string cause;          // of the last loss
    std::string last_cause;     // of the last replacement
    unsigned failures = 0;      // to find another, since then
    std::chrono::milliseconds patience{0};
    Gaps gaps;
    Retry retry;
  };

  explicit VirtualMachine(Host host) : host_(host) {}
  ipc::Result<> start_children();
  ipc::Result<> add_device(const std::string& name, std::uint16_t virtio_id, std::size_t queues, WayOut* way,
                           std::function<ipc::Result<ipc::UniqueFd>(Device&)> find_back_end);
  ipc::Result<ipc::UniqueFd> start_disk(Device& device, std::size_t index);
  ipc::Result<ipc::UniqueFd> start_card(Device& device, std::size_t index);
  // Its control messages go to back_end_said().
  ipc::Result<> start_back_end(Device& device, const Program& program, const sandbox::Limits& limits);
  const ipc::UniqueFd* operators_of(const Device& device) const;  // none: nullptr
  ipc::Result<> start_vcpu_host();
  ipc::Result<> set_up_vcpu_host(const ipc::UniqueFd& serial);
  ipc::Result<> arm_deadline(int seconds);
  std::optional<sandbox::Identity> identity(std::size_t child) const;

  ipc::Result<> vcpu_host_said(ipc::Frame frame);
  ipc::Result<> back_end_said(Device& device, ipc::Frame frame);
  ipc::Result<> back_end_lost(ipc::schema::BackEndLoss::Reader loss);
  ipc::Result<> back_end_replaced(ipc::schema::BackEndReplacement::Reader replacement);
  void back_end_ended(Device& device, const sandbox::Exit& exit);
  void give_up_program(Device& device);  // an operator's that did not come to serve
  void back_end_misbehaved(Device& device, const ipc::Error& error);
  // Another back end for `device`, at once or, if the last was soon lost, later.
  void replace(Device& device, std::chrono::milliseconds at_least = {});
  void find_another(Device& device);
  ipc::Result<> lend_kvm();
  ipc::Result<> start_if_sealed();
  void lost(const std::string& name, const sandbox::Exit& exit);
  void end(Ending ending);

  Host host_;
  Stage stage_ = Stage::Loading;
  std::optional<Ending> ending_;
  std::optional<Ending> suspicion_;            // becomes the ending if nothing better comes within a moment
  ipc::UniqueFd deadline_;                     // timerfd: until the guest runs, or until a suspicion is confirmed
  std::vector<ipc::UniqueFd> vm_descriptors_;  // the VM's and its vCPUs': they live as long as this object
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<Child> vcpu_host_;  // ends first: back ends see their front end go
};

}  // namespace monitor
