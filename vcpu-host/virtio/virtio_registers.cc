// The common configuration structure of the transport (virtio 1.2, 4.1.4.3) and the device status (2.1).
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <type_traits>

#include "vcpu-host/virtio/pci_transport.h"

namespace vcpu_host {
namespace {

// struct virtio_pci_common_cfg, with each 64-bit address as one field.
struct CommonConfig {
  std::uint32_t device_feature_select;
  std::uint32_t device_feature;
  std::uint32_t driver_feature_select;
  std::uint32_t driver_feature;
  std::uint16_t config_msix_vector;
  std::uint16_t num_queues;
  std::uint8_t device_status;
  std::uint8_t config_generation;
  std::uint16_t queue_select;
  std::uint16_t queue_size;
  std::uint16_t queue_msix_vector;
  std::uint16_t queue_enable;
  std::uint16_t queue_notify_off;
  std::uint64_t queue_desc;
  std::uint64_t queue_driver;
  std::uint64_t queue_device;
};
static_assert(sizeof(CommonConfig) == sizeof(virtio_pci_common_cfg));

constexpr std::uint64_t kVersion1 = std::uint64_t{1} << VIRTIO_F_VERSION_1;

// What passes between driver and back end: the device types' own bits, and of the transport's those that need
// nothing from this process. The others ask for what is not here (a virtual IOMMU, resetting one queue, …).
constexpr std::uint64_t kDeviceFeatures = ((std::uint64_t{1} << 24) - 1) | ~((std::uint64_t{1} << 50) - 1);  // 2.2
constexpr std::uint64_t kPassedFeatures = kDeviceFeatures | std::uint64_t{1} << 28 |  // INDIRECT_DESC
                                          std::uint64_t{1} << 29 |                    // EVENT_IDX
                                          kVersion1 | std::uint64_t{1} << VIRTIO_F_RING_PACKED |
                                          std::uint64_t{1} << 35 |  // IN_ORDER
                                          std::uint64_t{1} << VIRTIO_F_ORDER_PLATFORM;

constexpr std::uint8_t kDriverBits = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                                     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED;

std::uint32_t word(std::uint64_t value, std::uint32_t select) {
  return select < 2 ? static_cast<std::uint32_t>(value >> (32 * select)) : 0;
}

// Replaces the half (or all) of a 64-bit register that `bytes` bytes at `offset` in it are.
void replace(std::uint64_t& field, std::size_t offset, std::size_t bytes, std::uint64_t value) {
  if (bytes == 8) {
    field = value;
  } else {
    const std::size_t shift = 8 * offset;
    field = (field & ~(std::uint64_t{0xffffffff} << shift)) | value << shift;
  }
}

}  // namespace

std::uint64_t PciTransport::offered() const {
  return front_end_.features() & kPassedFeatures;
}

void PciTransport::read_common(std::size_t offset, std::span<std::byte> data) const {
  CommonConfig common{};
  common.device_feature_select = device_feature_select_;
  common.device_feature = word(offered(), device_feature_select_);
  common.driver_feature_select = driver_feature_select_;
  common.driver_feature = word(driver_features_, driver_feature_select_);
  common.config_msix_vector = config_vector_;
  common.num_queues = front_end_.queues();
  common.device_status = status_;
  common.config_generation = generation_;
  common.queue_select = queue_select_;
  // 4.1.4.3.1: a queue that is not there has the size 0.
  if (const Queue* queue = selected()) {
    common.queue_size = queue->setup.size;
    common.queue_msix_vector = queue->vector;
    common.queue_enable = queue->setup.enabled ? 1 : 0;
    common.queue_notify_off = queue_select_;
    common.queue_desc = queue->setup.descriptors;
    common.queue_driver = queue->setup.driver;
    common.queue_device = queue->setup.device;
  }
  const auto bytes = std::as_bytes(std::span(&common, 1));
  if (offset >= bytes.size()) return;
  std::ranges::copy(bytes.subspan(offset, std::min(data.size(), bytes.size() - offset)), data.begin());
}

// 4.1.3.1: drivers access each field in its own width, 64-bit fields also by halves. Other writes have no effect.
void PciTransport::write_common(std::size_t offset, std::span<const std::byte> data) {
  // 2.1.2: after a reset the driver waits until the status reads 0.
  if (resetting_) return;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < data.size(); ++i) value |= std::to_integer<std::uint64_t>(data[i]) << (8 * i);
  const std::size_t size = data.size();
  const auto is = [&](std::size_t field, std::size_t field_size) { return offset == field && size == field_size; };

  if (is(offsetof(CommonConfig, device_feature_select), 4)) {
    device_feature_select_ = static_cast<std::uint32_t>(value);
  } else if (is(offsetof(CommonConfig, driver_feature_select), 4)) {
    driver_feature_select_ = static_cast<std::uint32_t>(value);
  } else if (is(offsetof(CommonConfig, driver_feature), 4)) {
    write_features(static_cast<std::uint32_t>(value));
  } else if (is(offsetof(CommonConfig, config_msix_vector), 2)) {
    set_vector(config_vector_, config_event_, static_cast<std::uint16_t>(value));
  } else if (is(offsetof(CommonConfig, device_status), 1)) {
    write_status(static_cast<std::uint8_t>(value));
  } else if (is(offsetof(CommonConfig, queue_select), 2)) {
    queue_select_ = static_cast<std::uint16_t>(value);
  } else if (Queue* queue = selected()) {
    write_queue(*queue, offset, size, value);
  }
}

// 2.2.1, 3.1.1: features are chosen before FEATURES_OK, and stay.
void PciTransport::write_features(std::uint32_t value) {
  if (has_status(VIRTIO_CONFIG_S_FEATURES_OK) || driver_feature_select_ > 1) return;
  replace(driver_features_, 4 * driver_feature_select_, 4, value);
}

void PciTransport::write_queue(Queue& queue, std::size_t offset, std::size_t size, std::uint64_t value) {
  // Steering interrupts elsewhere does not touch the rings: it stays possible while they run.
  if (offset == offsetof(CommonConfig, queue_msix_vector) && size == 2)
    return set_vector(queue.vector, front_end_.call(queue_select_), static_cast<std::uint16_t>(value));

  // 4.1.4.3.2: a queue is set up before it is enabled, and all before DRIVER_OK. From then on the back end uses
  // what it was told, so nothing here may say anything else.
  if (queue.setup.enabled || has_status(VIRTIO_CONFIG_S_DRIVER_OK)) return;
  const auto in = [&](std::size_t field) {
    return (offset == field && (size == 4 || size == 8)) || (offset == field + 4 && size == 4);
  };
  if (offset == offsetof(CommonConfig, queue_size) && size == 2) {
    const auto wanted = static_cast<std::uint16_t>(value);
    if (std::has_single_bit(wanted) && wanted <= kMaxQueueSize) queue.setup.size = wanted;  // 2.7: a power of 2
  } else if (offset == offsetof(CommonConfig, queue_enable) && size == 2) {
    if (value == 1 && has_status(VIRTIO_CONFIG_S_FEATURES_OK)) queue.setup.enabled = true;
  } else if (in(offsetof(CommonConfig, queue_desc))) {
    replace(queue.setup.descriptors, offset % 8, size, value);
  } else if (in(offsetof(CommonConfig, queue_driver))) {
    replace(queue.setup.driver, offset % 8, size, value);
  } else if (in(offsetof(CommonConfig, queue_device))) {
    replace(queue.setup.device, offset % 8, size, value);
  }
}

// 4.1.5.1.2.1: a vector that cannot be mapped reads back as NO_VECTOR.
void PciTransport::set_vector(std::uint16_t& vector, const ipc::UniqueFd& event, std::uint16_t wanted) {
  if (vector != kNoVector) msix_->unbind(event);
  vector = wanted < msix_->vectors() ? wanted : kNoVector;
  if (vector != kNoVector) msix_->bind(event, vector);
}

void PciTransport::write_status(std::uint8_t value) {
  if (value == 0) return begin_reset();
  auto added = static_cast<std::uint8_t>(value & kDriverBits & ~status_);  // 2.1.1: the driver clears no bit
  if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
    // 2.2.2: features that were not offered are not accepted; without VERSION_1 this device does not work.
    const bool acceptable = (driver_features_ & ~offered()) == 0 && (driver_features_ & kVersion1) != 0;
    if (!acceptable) added &= static_cast<std::uint8_t>(~VIRTIO_CONFIG_S_FEATURES_OK);
  }
  if (((status_ | added) & VIRTIO_CONFIG_S_FEATURES_OK) == 0)
    added &= static_cast<std::uint8_t>(~VIRTIO_CONFIG_S_DRIVER_OK);
  status_ |= added;
  reconcile();
}

// 2.1.2, 2.4.1: the status reads 0 when the back end uses no ring any more.
void PciTransport::begin_reset() {
  const FrontEnd::State state = front_end_.state();
  if (state != FrontEnd::State::Running && state != FrontEnd::State::Stopping) return finish_reset();
  resetting_ = true;
  reconcile();
}

void PciTransport::finish_reset() {
  resetting_ = false;
  unbind_vectors();
  for (Queue& queue : queues_) queue = {};
  device_feature_select_ = 0;
  driver_feature_select_ = 0;
  driver_features_ = 0;
  queue_select_ = 0;
  status_ = 0;
  isr_ = 0;
  front_end_.forget_rings();
}

void PciTransport::unbind_vectors() {
  set_vector(config_vector_, config_event_, kNoVector);
  for (std::uint16_t i = 0; i < queues_.size(); ++i) set_vector(queues_[i].vector, front_end_.call(i), kNoVector);
}

}  // namespace vcpu_host
