#include "vcpu-host/virtio/pci_transport.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include <algorithm>

#include "vcpu-host/devices/event.h"

namespace vcpu_host {
namespace {

constexpr std::uint16_t kVendor = 0x1af4;
constexpr std::uint16_t kFirstDevice = 0x1040;  // 4.1.2: the PCI device id is this and the virtio device id
constexpr std::uint8_t kVendorCapability = 0x09;
constexpr std::uint32_t kPageBytes = 0x1000;

constexpr std::uint32_t class_code(std::uint16_t virtio_id) {
  switch (virtio_id) {
    case VIRTIO_ID_NET:
      return 0x020000;
    case VIRTIO_ID_BLOCK:
      return 0x010000;
    default:
      return 0xff0000;
  }
}

constexpr PciIdentity identity(std::uint16_t virtio_id) {
  return {.vendor = kVendor,
          .device = static_cast<std::uint16_t>(kFirstDevice + virtio_id),
          .revision = 1,
          .class_code = class_code(virtio_id),
          .subsystem_vendor = kVendor,
          .subsystem = 0x1100};
}

}  // namespace

ipc::Result<std::unique_ptr<PciTransport>> PciTransport::create(std::uint16_t virtio_id, FrontEnd& front_end,
                                                                ipc::UniqueFd config_event, Hypervisor& hypervisor,
                                                                BackEndEvents events) {
  if (virtio_id == 0 || virtio_id > 63)
    return ipc::failure(EINVAL, fmt::format("virtio device id {}: not 1 to 63", virtio_id));
  // One vector for each queue, and one for changes of configuration.
  auto msix = TRY(Msix::create(hypervisor, static_cast<std::uint16_t>(front_end.queues() + 1)));
  return std::unique_ptr<PciTransport>(
      new PciTransport(virtio_id, front_end, std::move(config_event), hypervisor, std::move(msix), std::move(events)));
}

PciTransport::PciTransport(std::uint16_t virtio_id, FrontEnd& front_end, ipc::UniqueFd config_event,
                           Hypervisor& hypervisor, std::unique_ptr<Msix> msix, BackEndEvents events)
    : PciFunction(identity(virtio_id)),
      front_end_(front_end),
      config_event_(std::move(config_event)),
      hypervisor_(hypervisor),
      msix_(std::move(msix)),
      events_(std::move(events)),
      queues_(front_end.queues()) {
  add_memory_bar(0, kBarBytes, *this);
  const auto multiplier = std::as_bytes(std::span(&kNotifyMultiplier, 1));
  add_virtio_capability(VIRTIO_PCI_CAP_COMMON_CFG, kCommonConfig, sizeof(virtio_pci_common_cfg));
  add_virtio_capability(VIRTIO_PCI_CAP_ISR_CFG, kIsr, 1);
  add_virtio_capability(VIRTIO_PCI_CAP_DEVICE_CFG, kDeviceConfig, kPageBytes);
  add_virtio_capability(VIRTIO_PCI_CAP_NOTIFY_CFG, kNotify, front_end.queues() * kNotifyMultiplier, multiplier);
  access_capability_ = add_virtio_capability(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, std::array<std::byte, 4>{});
  msix_capability_ =
      add_capability(Msix::kCapabilityId, msix_->capability(0, kMsixTable, kMsixPending), Msix::kCapabilityWritable);
  front_end_.set_listener(this);
}

PciTransport::~PciTransport() {
  front_end_.set_listener(nullptr);
  unbind_vectors();
  set_doorbells(std::nullopt);
}

// 4.1.4: struct virtio_pci_cap, and what follows it.
std::uint8_t PciTransport::add_virtio_capability(std::uint8_t type, std::uint32_t offset, std::uint32_t length,
                                                 std::span<const std::byte> extra) {
  virtio_pci_cap capability{};
  capability.cap_len = static_cast<std::uint8_t>(sizeof capability + extra.size());
  capability.cfg_type = type;
  capability.offset = offset;
  capability.length = length;
  // Id and next pointer, the first two bytes, are PciFunction's.
  constexpr std::size_t kFixed = sizeof capability - 2;
  std::vector<std::byte> body(kFixed + extra.size());
  std::memcpy(body.data(), std::as_bytes(std::span(&capability, 1)).data() + 2, kFixed);
  std::ranges::copy(extra, body.begin() + kFixed);

  std::vector<std::byte> writable;
  if (type == VIRTIO_PCI_CAP_PCI_CFG) {  // 4.1.4.9.1: bar, offset, length and the data can be written
    writable.assign(body.size(), std::byte{0xff});
    for (const std::size_t fixed : {VIRTIO_PCI_CAP_LEN, VIRTIO_PCI_CAP_CFG_TYPE}) writable[fixed - 2] = std::byte{0};
    for (std::size_t i = VIRTIO_PCI_CAP_BAR + 1; i < VIRTIO_PCI_CAP_OFFSET; ++i) writable[i - 2] = std::byte{0};
  }
  return add_capability(kVendorCapability, body, writable);
}

void PciTransport::read(std::uint64_t offset, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
  if (offset >= kMsixPending) return msix_->read_pending(offset - kMsixPending, data);
  if (offset >= kMsixTable) return msix_->read_table(offset - kMsixTable, data);
  if (offset >= kNotify) return;  // write-only
  if (offset >= kDeviceConfig) return read_device_config(offset - kDeviceConfig, data);
  if (offset >= kIsr) {
    if (offset == kIsr) data[0] = static_cast<std::byte>(std::exchange(isr_, std::uint8_t{0}));  // 4.1.4.5.1
    return;
  }
  read_common(offset, data);
}

void PciTransport::write(std::uint64_t offset, std::span<const std::byte> data) {
  if (offset >= kMsixPending) return;  // read-only
  if (offset >= kMsixTable) return msix_->write_table(offset - kMsixTable, data);
  if (offset >= kNotify) return notify(offset - kNotify);
  if (offset >= kDeviceConfig) return front_end_.write_config(offset - kDeviceConfig, data);
  if (offset < kIsr) write_common(offset, data);
}

void PciTransport::read_device_config(std::size_t offset, std::span<std::byte> data) const {
  const std::span<const std::byte> config = front_end_.config();
  if (offset >= config.size()) return;
  std::ranges::copy(config.subspan(offset, std::min(data.size(), config.size() - offset)), data.begin());
}

// Doorbells come here only where the hypervisor doesn't take them (VIRTIO_PCI_CAP_PCI_CFG). Which queue is
// meant says the address; what was written says nothing more, as notification data is not offered.
void PciTransport::notify(std::uint64_t offset) {
  const std::uint64_t queue = offset / kNotifyMultiplier;
  if (queue < front_end_.queues()) signal(front_end_.kick(static_cast<std::uint16_t>(queue)));
}

void PciTransport::bar_moved(unsigned /*index*/, std::optional<ipc::GuestAddress> address) {
  set_doorbells(address);
}

// A doorbell that the hypervisor refuses comes to notify() instead: slower, and as right.
void PciTransport::set_doorbells(std::optional<ipc::GuestAddress> bar) {
  const auto doorbell = [](ipc::GuestAddress base, std::uint16_t queue) {
    return ipc::GuestAddress{base.value + kNotify + queue * kNotifyMultiplier};
  };
  for (std::uint16_t i = 0; i < front_end_.queues(); ++i) {
    if (bar_) static_cast<void>(hypervisor_.detach_doorbell(doorbell(*bar_, i), front_end_.kick(i)));
    if (bar) static_cast<void>(hypervisor_.attach_doorbell(doorbell(*bar, i), front_end_.kick(i)));
  }
  bar_ = bar;
}

// 4.1.4.9: the data register stands for the part of the BAR that offset and length select.
std::optional<PciTransport::Window> PciTransport::access_window() {
  virtio_pci_cap capability;
  std::memcpy(&capability, config().subspan(access_capability_).data(), sizeof capability);
  const std::uint32_t size = capability.length;
  const std::uint32_t offset = capability.offset;
  if (capability.bar != 0 || (size != 1 && size != 2 && size != 4)) return std::nullopt;
  if (offset % size != 0 || offset >= kBarBytes) return std::nullopt;
  return Window{.offset = offset, .size = size};
}

void PciTransport::config_reading(std::size_t offset, std::size_t size) {
  const std::size_t data = access_capability_ + sizeof(virtio_pci_cap);
  if (offset + size <= data || offset >= data + 4) return;
  if (const auto window = access_window()) read(window->offset, config().subspan(data, window->size));
}

void PciTransport::config_written(std::size_t offset, std::size_t size) {
  const std::size_t data = access_capability_ + sizeof(virtio_pci_cap);
  if (offset + size > data && offset < data + 4)
    if (const auto window = access_window()) write(window->offset, config().subspan(data, window->size));

  const std::size_t control = msix_capability_ + Msix::kControlOffset;
  const auto low = std::to_integer<unsigned>(config()[control]);
  const auto high = std::to_integer<unsigned>(config()[control + 1]);
  msix_->set_control(static_cast<std::uint16_t>(low | high << 8), bus_master());
  reconcile();
}

// The back end runs while the driver is ready and the function may be bus master: what it does to guest RAM is
// this function's DMA.
void PciTransport::reconcile() {
  const bool wanted = has_status(VIRTIO_CONFIG_S_DRIVER_OK) && !has_status(VIRTIO_CONFIG_S_NEEDS_RESET) &&
                      !has_status(VIRTIO_CONFIG_S_FAILED) && bus_master() && !resetting_;
  switch (front_end_.state()) {
    case FrontEnd::State::Stopped: {
      if (!wanted) return;
      std::vector<QueueSetup> setups;
      for (const Queue& queue : queues_) setups.push_back(queue.setup);
      if (!front_end_.start(driver_features_, setups)) need_reset();
      return;
    }
    case FrontEnd::State::Running:
      if (!wanted) front_end_.stop(resetting_ ? FrontEnd::Stop::Reset : FrontEnd::Stop::Pause);
      return;
    case FrontEnd::State::Greeting:
    case FrontEnd::State::Stopping:
    case FrontEnd::State::Lost:
      return;  // back_end_stopped() comes
  }
}

void PciTransport::back_end_stopped() {
  if (resetting_) return finish_reset();
  reconcile();
}

void PciTransport::back_end_lost(const ipc::Error& reason, bool resumable) {
  if (resetting_) finish_reset();
  if (!resumable && has_status(VIRTIO_CONFIG_S_DRIVER_OK)) need_reset();
  events_.lost(reason, has_status(VIRTIO_CONFIG_S_NEEDS_RESET));
}

void PciTransport::back_end_config_changed() {
  ++generation_;  // 4.1.4.3.1
  if (has_status(VIRTIO_CONFIG_S_DRIVER_OK)) config_interrupt();
}

// 2.1.2: the device says so by a change of configuration.
void PciTransport::need_reset() {
  if (has_status(VIRTIO_CONFIG_S_NEEDS_RESET)) return;
  status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
  config_interrupt();
}

void PciTransport::config_interrupt() {
  if (!msix_->enabled()) isr_ |= VIRTIO_PCI_ISR_CONFIG;
  if (config_vector_ != kNoVector) signal(config_event_);
}

}  // namespace vcpu_host
