// A guest from power-on to power-off or reset: its children, and what the monitor and they say. A back end that ends
// is replaced while the guest runs; vcpu-host's end is the machine's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ipc/event_loop.h"
#include "ipc/timer.h"
#include "monitor/configuration.h"
#include "monitor/device.h"
#include "monitor/kvm_system.h"
#include "monitor/resources.h"
#include "monitor/serial_relay.h"

namespace monitor {

// What is opened once, and outlasts reboots. All borrowed.
struct Host {
  ipc::EventLoop& loop;
  const Configuration& configuration;
  const Images& images;
  const KvmSystem& kvm;
  Spawner& spawner;
  std::span<const std::unique_ptr<WayOut>> ways;  // of the configuration's network cards
  std::span<const ipc::UniqueFd> operators;       // where they connect: of each disk, then of each card; empty: none
  SerialRelay& serial;
  ipc::Seal seal;  // the monitor's own
};

class VirtualMachine : private Device::Machine {
 public:
  // Starts the children and tells them what to set up. The guest runs when all of them are sealed.
  static std::expected<std::unique_ptr<VirtualMachine>, Ending> power_on(Host host);
  ~VirtualMachine() override;  // all children are gone, all serial output is passed on
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

  explicit VirtualMachine(Host host) : host_(host), deadline_(host.loop) {}
  ipc::Result<> start_children();
  std::uint16_t next_slot() const { return static_cast<std::uint16_t>(devices_.size()); }
  ipc::Result<> add_device(Device::Plan plan);
  const ipc::UniqueFd* operators_of(const Device& device) const;  // none: nullptr
  ipc::Result<> start_vcpu_host();
  ipc::Result<> set_up_vcpu_host(const ipc::UniqueFd& serial);
  ipc::Result<> arm_deadline(std::chrono::seconds patience);
  ipc::Result<> vcpu_host_said(ipc::Frame frame);
  ipc::Result<> lend_kvm();
  ipc::Result<Device*> device_in(std::uint16_t slot);

  // Device::Machine
  bool guest_runs() const override { return stage_ == Stage::Running; }
  ipc::Result<> device_sealed() override;  // the guest runs when all children are
  void lost(const std::string& name, const sandbox::Exit& exit) override;
  void reconnect(std::uint16_t slot, const Connection& connection) override;
  void end(Ending ending) override;

  Host host_;
  Stage stage_ = Stage::Loading;
  std::optional<Ending> ending_;
  std::optional<Ending> suspicion_;            // becomes the ending if nothing better comes within a moment
  ipc::Timer deadline_;                        // until the guest runs, or until a suspicion is confirmed
  std::vector<ipc::UniqueFd> vm_descriptors_;  // the VM's and its vCPUs': they live as long as this object
  std::vector<std::unique_ptr<Device>> devices_;
  ipc::Seal vcpu_host_seal_;
  std::unique_ptr<Child> vcpu_host_;  // ends first: back ends see their front end go
};

}  // namespace monitor
