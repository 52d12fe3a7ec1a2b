// The virtio block device (virtio 1.2, 5.2): takes requests from its rings, carries them out by the engine.
#pragma once

#include <array>
#include <deque>
#include <string>
#include <vector>

#include "backends/blk/engine.h"
#include "backends/blk/request.h"
#include "backends/blk/storage.h"
#include "backends/virtio/device.h"
#include "backends/virtio/features.h"
#include "backends/virtio/memory_table.h"

namespace blk {

struct Options {
  std::string serial;        // what GET_ID tells, at most 20 bytes
  std::uint16_t queues = 1;  // 1 to virtio::kMaxQueues
  virtio::Sealing sealing = virtio::Sealing::Required;
};

class Device final : public virtio::Device {
 public:
  // `engine` is borrowed and has nothing in its image and kick slots yet.
  static ipc::Result<std::unique_ptr<Device>> create(Storage storage, Engine& engine, const Options& options);

  std::uint64_t features() const override { return features_; }
  std::uint16_t queues() const override { return static_cast<std::uint16_t>(queues_.size()); }
  std::span<const std::byte> config() const override { return std::as_bytes(std::span(&config_, 1)); }
  ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) override;
  void accept(std::uint64_t features) override;
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring) override;
  void stop(std::uint16_t index) override;

  // Looks whether the image has grown. True if the configuration space has changed. EINVAL if it has a
  // size that cannot be: the disk stays as it was.
  ipc::Result<bool> grow();

  // Completions of the engine.
  void on_kick(Token token, Completion completion);
  void on_disk_io(Token token, Completion completion);

  // Chains may be waiting in a ring: serve() before the next wait.
  bool work_waits() const;
  // Takes what the rings have, at most each ring's size of chains, and starts it.
  void serve();
  // Shows the drivers what has completed, with at most one interrupt for each ring.
  void publish();

 private:
  struct Queue {
    virtio::Vring* ring = nullptr;  // while it runs
    std::uint32_t generation = 0;   // counts starts: a completion of an earlier one is not ours
    bool look = false;              // chains may be waiting
  };
  // The pool grows to the most requests that were ever in flight at once, at most kMaxInFlight; from
  // then on nothing is allocated.
  struct InFlight {
    std::uint16_t queue;
    std::uint16_t head;
    Request request;
  };

  Device(Storage storage, Engine& engine, const Options& options);
  void serve(Queue& queue);
  void take(Queue& queue, const virtio::Head& head);
  void submit(std::uint16_t slot);
  // The next step of a Discard or WriteZeroes, and what came of the last one.
  void submit_range(std::uint16_t slot);
  void on_range(std::uint16_t slot, int result);
  DiskShape shape() const;
  bool accepted(unsigned feature) const { return (accepted_ & virtio::feature_bit(feature)) != 0; }
  // 5.2.6.2: without a write cache each write is durable when it completes.
  bool write_through() const { return config_.wce == 0; }
  void finish(std::uint16_t slot, std::uint8_t status);
  // What is in flight never outgrows the engine's completion queue.
  bool has_room() const { return pool_.size() - free_.size() < kMaxInFlight; }
  Token kick_token(const Queue& queue) const;
  std::uint16_t acquire();

  Storage storage_;
  Engine& engine_;
  std::array<std::byte, VIRTIO_BLK_ID_BYTES> serial_{};
  std::uint64_t features_ = 0;
  std::uint64_t accepted_ = 0;
  virtio_blk_config config_{};
  std::vector<Queue> queues_;
  std::deque<InFlight> pool_;
  std::vector<std::uint16_t> free_;  // slots of pool_, the last used first
  virtio::Chain chain_;              // the one being parsed
};

}  // namespace blk
