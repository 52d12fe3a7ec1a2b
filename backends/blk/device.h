// The virtio block device (virtio 1.2, 5.2) as its driver sees it, and the threads that serve its queues.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/blk/options.h"
#include "backends/blk/queue_group.h"
#include "backends/blk/worker.h"
#include "backends/virtio/device.h"
#include "backends/virtio/features.h"

namespace blk {

class Device final : public virtio::Device {
 public:
  // Sets everything up, its threads too; nothing is allocated for requests later. To be used by the thread that
  // calls this, which serves the first group. EINVAL for options that make no sense, others as of
  // QueueGroup::create() and Worker::start().
  static ipc::Result<std::unique_ptr<Device>> create(Storage storage, const Options& options);

  std::uint64_t features() const override { return features_; }
  std::uint16_t queues() const override { return options_.queues; }
  std::span<const std::byte> config() const override { return std::as_bytes(std::span(&config_, 1)); }
  ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) override;
  void accept(std::uint64_t features) override;
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring) override;
  void stop(std::uint16_t index) override;
  void suspend(std::uint16_t index) override;
  std::vector<std::byte> save_state() const override;
  ipc::Result<> load_state(std::span<const std::byte> bytes) override;

  // The next front end finds nothing of the last one. A reset alone leaves the write cache as the driver chose it:
  // front ends reset the device when they only stop it for a while, and show their own copy of the configuration.
  void forget_front_end();

  // The group of this thread, and those of others.
  QueueGroup& main_group() { return *main_; }
  std::span<const std::unique_ptr<Worker>> workers() const { return workers_; }
  const Storage& storage() const { return disk_.storage; }

  // While one lives the other threads stand still: only then may the session, the rings or what follows be touched.
  class Pause {
   public:
    explicit Pause(Device& device) : device_(device) {
      for (const auto& worker : device_.workers_) worker->park();
    }
    ~Pause() {
      for (const auto& worker : device_.workers_) worker->release();
    }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

    // Other threads take no new requests, and wake the main group's engine when none are in flight.
    void set_closed(bool closed) {
      for (const auto& worker : device_.workers_) worker->set_closed(closed);
    }
    // Looks whether the image has grown. True if the configuration space has changed. EINVAL if it has a
    // size that cannot be: the disk stays as it was.
    ipc::Result<bool> grow();

   private:
    Device& device_;
  };

 private:
  Device(Storage storage, const Options& options);
  bool accepted(unsigned feature) const { return (accepted_ & virtio::feature_bit(feature)) != 0; }
  void set_cache(bool on);
  void let_image_go();  // as options_.lock asks, when no ring runs any more
  void take_size();
  // Has the thread that serves queue `index` do `work`.
  void serve(std::uint16_t index, const std::function<void(QueueGroup&)>& work);

  Options options_;
  std::optional<telemetry::Segment> counters_;  // where nobody else looks
  Disk disk_;
  std::uint64_t features_ = 0;
  std::uint64_t accepted_ = 0;
  bool cache_ = true;  // what the driver has chosen, of CONFIG_WCE
  virtio_blk_config config_{};
  unsigned running_ = 0;  // rings
  ipc::UniqueFd news_;    // of workers for the main group
  std::unique_ptr<QueueGroup> main_;
  std::vector<std::unique_ptr<Worker>> workers_;  // last: they use all the rest
};

}  // namespace blk
