// The one virtio device of this machine: virtio-pci, modern only (virtio 1.2, 4.1). It knows no device type:
// id, queues, features and configuration space are the back end's.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "vcpu-host/bus.h"
#include "vcpu-host/devices/msix.h"
#include "vcpu-host/devices/pci_function.h"
#include "vcpu-host/hypervisor.h"
#include "vcpu-host/virtio/front_end.h"

namespace vcpu_host {

// What becomes of a device's back end.
struct BackEndEvents {
  // Gone, and why. `needs_reset`: the driver has to begin anew (DEVICE_NEEDS_RESET), as no other can go on where this
  // one was; otherwise the guest sees a pause.
  std::function<void(const ipc::Error& reason, bool needs_reset)> lost;
  // Another has taken its place, so long afterwards.
  std::function<void(std::chrono::microseconds gap)> replaced;
};

class PciTransport final : public PciFunction, private BusDevice, private FrontEnd::Listener {
 public:
  static constexpr std::uint16_t kMaxQueueSize = 256;
  static constexpr std::uint16_t kNoVector = 0xffff;  // VIRTIO_MSI_NO_VECTOR

  // Where the parts are in BAR 0.
  static constexpr std::uint64_t kBarBytes = 0x8000;
  static constexpr std::uint32_t kCommonConfig = 0x0000;
  static constexpr std::uint32_t kIsr = 0x1000;
  static constexpr std::uint32_t kDeviceConfig = 0x2000;
  static constexpr std::uint32_t kNotify = 0x3000;
  static constexpr std::uint32_t kNotifyMultiplier = 4;
  static constexpr std::uint32_t kMsixTable = 0x4000;
  static constexpr std::uint32_t kMsixPending = 0x6000;

  // A device of type `virtio_id` (1 to 63) in front of `front_end`, whose listener this becomes. `config_event`
  // is an eventfd of nobody else's: changes of configuration interrupt through it. Put it on a PciBus.
  static ipc::Result<std::unique_ptr<PciTransport>> create(std::uint16_t virtio_id, FrontEnd& front_end,
                                                           ipc::UniqueFd config_event, Hypervisor& hypervisor,
                                                           BackEndEvents events);
  ~PciTransport() override;

 private:
  struct Queue {
    QueueSetup setup{.size = kMaxQueueSize};
    std::uint16_t vector = kNoVector;
  };

  PciTransport(std::uint16_t virtio_id, FrontEnd& front_end, ipc::UniqueFd config_event, Hypervisor& hypervisor,
               std::unique_ptr<Msix> msix, BackEndEvents events);
  std::uint8_t add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t length,
                                     std::span<const std::byte> extra = {});

  // BAR 0
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;
  void read_common(std::size_t offset, std::span<std::byte> data) const;
  void read_device_config(std::size_t offset, std::span<std::byte> data) const;
  void write_common(std::size_t offset, std::span<const std::byte> data);
  void write_queue(Queue& queue, std::size_t offset, std::size_t size, std::uint64_t value);
  void write_status(std::uint8_t value);
  void write_features(std::uint32_t value);
  void set_vector(std::uint16_t& vector, const ipc::UniqueFd& event, std::uint16_t wanted);
  void notify(std::uint64_t offset);

  // PciFunction
  void config_reading(std::size_t offset, std::size_t size) override;
  void config_written(std::size_t offset, std::size_t size) override;
  void bar_moved(unsigned index, std::optional<ipc::GuestAddress> address) override;
  struct Window {
    std::uint64_t offset;
    std::size_t size;
  };
  std::optional<Window> access_window();  // into the BAR, as the driver set VIRTIO_PCI_CAP_PCI_CFG

  // FrontEnd::Listener
  void back_end_stopped() override;
  void back_end_config_changed() override;
  void back_end_lost(const ipc::Error& reason, bool resumable) override;
  void back_end_replaced(std::chrono::microseconds gap) override { events_.replaced(gap); }

  std::uint64_t offered() const;  // feature bits
  const Queue* selected() const { return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr; }
  Queue* selected() { return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr; }
  bool has_status(std::uint8_t bit) const { return (status_ & bit) != 0; }
  void reconcile();  // the back end runs exactly while it should
  void begin_reset();
  void finish_reset();
  void need_reset();
  void unbind_vectors();
  void config_interrupt();
  void set_doorbells(std::optional<ipc::GuestAddress> bar);

  FrontEnd& front_end_;
  ipc::UniqueFd config_event_;
  Hypervisor& hypervisor_;
  std::unique_ptr<Msix> msix_;
  BackEndEvents events_;
  std::size_t msix_capability_ = 0;
  std::size_t access_capability_ = 0;
  std::optional<ipc::GuestAddress> bar_;  // where the doorbells are attached

  std::vector<Queue> queues_;
  std::uint32_t device_feature_select_ = 0;
  std::uint32_t driver_feature_select_ = 0;
  std::uint64_t driver_features_ = 0;
  std::uint16_t config_vector_ = kNoVector;
  std::uint16_t queue_select_ = 0;
  std::uint8_t status_ = 0;
  std::uint8_t generation_ = 0;
  std::uint8_t isr_ = 0;
  bool resetting_ = false;  // the driver wrote 0; the back end has not stopped yet
};

}  // namespace vcpu_host
