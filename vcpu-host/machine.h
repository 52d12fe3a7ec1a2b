// The machine "q35-lite" of one VM, put together: platform devices, PCI bus, virtio devices, vCPUs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "vcpu-host/devices/acpi_pm.h"
#include "vcpu-host/devices/cmos_rtc.h"
#include "vcpu-host/devices/pci.h"
#include "vcpu-host/devices/reset.h"
#include "vcpu-host/devices/serial.h"
#include "vcpu-host/kvm/vcpu_thread.h"
#include "vcpu-host/virtio/pci_transport.h"

namespace vcpu_host {

class Machine {
 public:
  // What happens to the guest and its devices, told from the event loop. After the first three no vCPU runs that asked
  // for it.
  struct Events {
    std::function<void()> powered_off;
    std::function<void()> reset_requested;
    std::function<void(const std::string& reason)> crashed;
    std::function<void(std::uint16_t device, const std::string& reason, bool needs_reset)> back_end_lost;
    std::function<void(std::uint16_t device, std::chrono::microseconds gap)> back_end_replaced;
  };

  // The platform without vCPUs and virtio devices. `loop` and `vm` are borrowed.
  static ipc::Result<std::unique_ptr<Machine>> create(EventLoop& loop, Vm& vm, std::uint64_t ram_bytes,
                                                      ipc::UniqueFd serial, Events events);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // In the order of their slots, from 1 on.
  ipc::Result<> add_device(std::uint16_t virtio_id, std::unique_ptr<FrontEnd> front_end, ipc::UniqueFd config_call);
  // In the order of their APIC ids. Its thread is inside its filter when this returns.
  ipc::Result<> add_vcpu(Vcpu vcpu);

  // The VM's descriptor and those of its vCPUs, for the monitor.
  std::vector<int> descriptors() const;

  void start();
  // Device `device` has another back end from now on. False if there is no such device.
  bool reconnect(std::uint16_t device, BackEndConnection connection);
  void press_power_button() { power_->press_power_button(); }

 private:
  struct InterruptLines {
    ipc::UniqueFd serial, rtc, sci, sci_resample;
  };
  Machine(Vm& vm, Events events, InterruptLines lines, ipc::UniqueFd exits);
  ipc::Result<> connect_lines();
  ipc::Result<> build_buses();
  void serve_exits();
  void end(std::function<void()> tell);

  Vm& vm_;
  Events events_;
  InterruptLines lines_;
  ipc::UniqueFd exits_;  // an eventfd: some vCPU has stopped
  bool ended_ = false;

  Bus ports_;
  Bus memory_;
  std::unique_ptr<Serial> serial_;
  std::unique_ptr<CmosRtc> rtc_;
  std::unique_ptr<AcpiPm> power_;
  ResetControl reset_control_;
  KeyboardReset keyboard_reset_;
  PciBus pci_;

  struct Device {
    std::unique_ptr<FrontEnd> front_end;
    std::unique_ptr<PciTransport> transport;
  };
  std::vector<Device> devices_;
  std::vector<std::unique_ptr<VcpuThread>> vcpus_;
};

}  // namespace vcpu_host
