// Which chains of a packed ring are in flight, in memory that outlives this process: vhost-user.rst,
// "Inflight I/O tracking", QueueRegionPacked. As used descriptors overwrite the ring, the region holds
// copies of the chains themselves.
//
// The region is the front end's memory too: it is only written while the ring runs, and read, as
// anything hostile is, when a successor takes it up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/virtio/ring.h"
#include "ipc/error.h"

namespace virtio {

// Bytes that one packed ring of `queue_size` descriptors takes in the region.
std::size_t packed_inflight_bytes(std::uint16_t queue_size);

class PackedInflightLog {
 public:
  // A chain of a predecessor.
  struct Left {
    std::uint16_t entry;
    std::vector<PackedDescriptor> parts;
  };
  struct Recovered {
    RingPosition used;         // where the next used descriptor goes
    std::vector<Left> chains;  // not given back, in the order in which they were taken
  };

  // The log of the ring `ring`, 1 to kMaxQueueSize descriptors, in `region`, packed_inflight_bytes()
  // large and aligned to 8; both must outlive it. EINVAL if it is of another kind or size, or of an
  // unknown version; one of zeros is new.
  static ipc::Result<PackedInflightLog> attach(std::span<std::byte> region, std::span<PackedDescriptor> ring);

  // What a predecessor left. A new region's ring goes on at `used`; another's where the region says: who
  // gives it may not know how far a process came that was killed. EINVAL if no back end can have left the
  // region as it is. Once, before any other call.
  ipc::Result<Recovered> recover(RingPosition used);

  // A chain was taken from the ring. Its entry, below the ring's size.
  std::uint16_t take(std::span<const PackedDescriptor> parts);
  // A batch of chains is about to be shown to the driver, after which the next used descriptor goes to `used`.
  void begin_batch(std::span<const std::uint16_t> entries, RingPosition used);
  // The driver sees it.
  void end_batch(std::span<const std::uint16_t> entries);

 private:
  struct Entry {  // DescStatePacked
    std::uint8_t inflight;
    std::uint8_t padding;
    std::uint16_t next;     // the next of the chain, or of the free list
    std::uint16_t last;     // of the chain; this and what follows in heads only
    std::uint16_t count;    // of the chain
    std::uint64_t counter;  // in which order it was taken
    std::uint16_t id;       // the descriptor's own fields
    std::uint16_t flags;
    std::uint32_t length;
    std::uint64_t address;
  };
  struct Header {  // QueueRegionPacked
    std::uint64_t features;
    std::uint16_t version;
    std::uint16_t desc_num;
    std::uint16_t free_head;
    std::uint16_t old_free_head;
    std::uint16_t used_idx;
    std::uint16_t old_used_idx;
    std::uint8_t used_wrap_counter;
    std::uint8_t old_used_wrap_counter;
    std::uint8_t padding[10];
  };
  friend std::size_t packed_inflight_bytes(std::uint16_t);

  PackedInflightLog() = default;
  std::uint16_t size() const { return static_cast<std::uint16_t>(entries_.size()); }
  void initialise();
  // The batch that was being shown when the predecessor was killed was seen by the driver, or there was none.
  bool committed() const;
  // The free list that begins at `head`, and the chains that are in flight beside it: together all entries.
  ipc::Result<std::vector<Left>> read(std::uint16_t head);
  void roll_back(std::size_t in_flight);

  bool new_ = false;
  Header* header_ = nullptr;
  std::span<Entry> entries_;
  std::span<PackedDescriptor> ring_;
  std::uint64_t counter_ = 0;
  // Our own copies of what the region says: where chains and the free list go on, and where chains end.
  std::uint16_t free_head_ = 0;
  std::vector<std::uint16_t> next_;
  std::vector<std::uint16_t> last_;
  RingPosition used_;  // of the batch that is being shown
};

}  // namespace virtio
