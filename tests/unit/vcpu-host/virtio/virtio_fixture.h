// A virtio-pci function on a PCI bus with a scripted back end behind it, and a driver's hands on its registers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tests/support/fake_hypervisor.h"
#include "tests/support/scripted_back_end.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/devices/pci.h"
#include "vcpu-host/devices/reset.h"
#include "vcpu-host/event_loop.h"
#include "vcpu-host/virtio/front_end.h"
#include "vcpu-host/virtio/pci_transport.h"

namespace vcpu_host {

// Offsets in the common configuration structure (virtio 1.2, 4.1.4.3).
enum Common : std::uint64_t {
  kDeviceFeatureSelect = 0,
  kDeviceFeature = 4,
  kDriverFeatureSelect = 8,
  kDriverFeature = 12,
  kConfigVector = 16,
  kNumQueues = 18,
  kDeviceStatus = 20,
  kConfigGeneration = 21,
  kQueueSelect = 22,
  kQueueSize = 24,
  kQueueVector = 26,
  kQueueEnable = 28,
  kQueueNotifyOff = 30,
  kQueueDesc = 32,
  kQueueDriver = 40,
  kQueueDevice = 48,
};

// Device status bits (2.1).
inline constexpr std::uint8_t kAcknowledge = 1;
inline constexpr std::uint8_t kDriver = 2;
inline constexpr std::uint8_t kDriverOk = 4;
inline constexpr std::uint8_t kFeaturesOk = 8;
inline constexpr std::uint8_t kNeedsReset = 64;

inline constexpr std::uint64_t kRamBytes = 16u << 20;

ipc::UniqueFd make_ram();  // kRamBytes
ipc::GuestMemory map(const ipc::UniqueFd& ram);

struct Connection {
  EventLoop loop = *EventLoop::create();
  ipc::UniqueFd ram = make_ram();
  ipc::GuestMemory memory = map(ram);
  ScriptedBackEnd back_end;
  std::unique_ptr<FrontEnd> front_end;
  std::string error;  // of connect()

  bool connect(unsigned queues, FrontEnd::Limits limits = {}, std::uint64_t ram_bytes = kRamBytes);
};

struct VirtioFixture : Connection {
  // 2 queues, device id 2. `prepare` changes the back end before it is greeted.
  explicit VirtioFixture(
      std::function<void(ScriptedBackEnd&)> prepare = [](ScriptedBackEnd&) {}, FrontEnd::Limits limits = {});

  Bus mmio;
  ResetControl reset{[] {}};
  PciBus pci{mmio, reset};
  FakeHypervisor hypervisor;
  std::unique_ptr<PciTransport> device;
  std::optional<std::string> failure;  // why the driver has to begin anew
  unsigned losses = 0;
  std::optional<std::chrono::microseconds> gap;  // of the last replacement

  // The BAR's registers
  std::uint64_t bar = 0;
  std::uint64_t get(std::uint64_t offset, std::size_t size);
  void put(std::uint64_t offset, std::size_t size, std::uint64_t value);
  std::uint32_t get_config(std::size_t offset, std::size_t size);
  void put_config(std::size_t offset, std::size_t size, std::uint32_t value);
  std::size_t capability(std::uint8_t id, std::uint8_t virtio_type = 0);  // its offset; 0: none

  // The driver's steps (3.1.1)
  std::uint8_t status() { return static_cast<std::uint8_t>(get(kDeviceStatus, 1)); }
  void set_status(std::uint8_t value) { put(kDeviceStatus, 1, value); }
  void accept_features(std::uint64_t features);
  void set_up_queue(std::uint16_t queue, std::uint16_t size = 64);
  void start();  // all of it, with both queues and vectors 0 (configuration), 1, 2
  void unmask(std::uint16_t vector);
  void settle() { back_end.run(loop); }
};

inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;

}  // namespace vcpu_host
