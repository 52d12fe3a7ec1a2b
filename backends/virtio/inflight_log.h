// Which chains of a split ring are in flight, in memory that outlives this process: vhost-user.rst,
// "Inflight I/O tracking", QueueRegionSplit. A successor finds what this process had taken and not yet
// given back, whenever it was killed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/virtio/chain.h"
#include "ipc/error.h"

namespace virtio {

// Bytes that one ring of `queue_size` descriptors takes in the region; rings lie one after the other.
std::size_t inflight_bytes(std::uint16_t queue_size);

class InflightLog {
 public:
  // The log of a ring of `queue_size` (1 to kMaxQueueSize) descriptors in `region`, inflight_bytes()
  // large and aligned to 8, which must outlive it. EINVAL if it is of another kind or size, or of an
  // unknown version; one of zeros is new.
  static ipc::Result<InflightLog> attach(std::span<std::byte> region, std::uint16_t queue_size);

  // What a predecessor left: the heads that it had taken and not given back, in the order in which it
  // took them. `used_index` is the used ring's. Once, before any other call.
  std::vector<std::uint16_t> recover(std::uint16_t used_index);

  // `head` was taken from the available ring.
  void take(std::uint16_t head);
  // An entry for `head` is in the used ring, where the driver does not see it yet.
  void complete(std::uint16_t head);
  // The driver sees all that was completed: the used ring's index is `used_index`.
  void publish(std::uint16_t used_index);

 private:
  struct Descriptor {  // DescStateSplit
    std::uint8_t inflight;
    std::uint8_t padding[5];
    std::uint16_t next;     // the head that was completed before this one
    std::uint64_t counter;  // in which order it was taken
  };
  struct Header {  // QueueRegionSplit
    std::uint64_t features;
    std::uint16_t version;
    std::uint16_t desc_num;
    std::uint16_t last_batch_head;
    std::uint16_t used_idx;
  };
  friend std::size_t inflight_bytes(std::uint16_t);

  InflightLog() = default;

  Header* header_ = nullptr;
  std::span<Descriptor> descriptors_;
  std::uint64_t counter_ = 0;
  std::vector<std::uint16_t> batch_;  // completed and not yet published; never more than there are descriptors
};

}  // namespace virtio
