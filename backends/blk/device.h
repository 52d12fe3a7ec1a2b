// The virtio block device (virtio 1.2, 5.2) as its driver sees it, and the threads that serve its queues.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/blk/options.h"
#include "backends/blk/queue_group.h"
#include "backends/serve/device.h"
#include "backends/virtio/features.h"

namespace blk {

class Device final : public serve::Device {
 public:
  // Sets everything up, its threads too; nothing is allocated for requests later. To be used by the thread that
  // calls this, which serves the first group. EINVAL for options that make no sense, others as of
  // QueueGroup::create() and serve::Groups::create().
  static ipc::Result<std::unique_ptr<Device>> create(Storage storage, const Options& options);

  std::uint64_t features() const override { return features_; }
  std::uint16_t queues() const override { return options_.queues; }
  std::span<const std::byte> config() const override { return std::as_bytes(std::span(&config_, 1)); }
  ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) override;
  void accept(std::uint64_t features) override;
  void use_memory(std::span<const iovec> places) override;
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring) override;
  void stop(std::uint16_t index) override;
  void suspend(std::uint16_t index) override;
  std::vector<std::byte> save_state() const override;
  ipc::Result<> load_state(std::span<const std::byte> bytes) override;

  serve::Groups& groups() override { return *groups_; }
  void forget_front_end() override;
  ipc::Result<sandbox::Filter> filter(sandbox::Role role, serve::Group& group, sandbox::Slots slots) override;
  std::string describe() override;

  const Storage& storage() const { return disk_.storage; }
  // Looks whether the image has grown. True if the configuration space has changed. EINVAL if it has a size that
  // cannot be: the disk stays as it was. While no thread serves.
  ipc::Result<bool> grow();

 private:
  Device(Storage storage, const Options& options);
  bool accepted(unsigned feature) const { return (accepted_ & virtio::feature_bit(feature)) != 0; }
  void set_cache(bool on);
  void let_image_go();  // as options_.lock asks, when no ring runs any more
  void take_size();
  // Has the thread that serves queue `index` do `work`.
  void on(std::uint16_t index, const std::function<void(QueueGroup&)>& work);

  Options options_;
  std::optional<telemetry::Segment> counters_;  // where nobody else looks
  Disk disk_;
  std::uint64_t features_ = 0;
  std::uint64_t accepted_ = 0;
  bool cache_ = true;  // what the driver has chosen, of CONFIG_WCE
  virtio_blk_config config_{};
  bool memory_refused_ = false;            // and that was said
  unsigned running_ = 0;                   // rings
  std::unique_ptr<serve::Groups> groups_;  // last: its threads use all the rest
};

}  // namespace blk
