// What the two layouts of a virtqueue have in common.
#pragma once

#include <cstdint>
#include <expected>

#include "backends/virtio/chain.h"
#include "ipc/guest_memory.h"

namespace virtio {

struct RingAddresses {  // guest-physical
  ipc::GuestAddress descriptors;
  ipc::GuestAddress available;
  ipc::GuestAddress used;
};

struct RingFeatures {
  bool indirect = false;   // VIRTIO_F_INDIRECT_DESC
  bool event_idx = false;  // VIRTIO_F_EVENT_IDX
};

// What next() found.
struct Head {
  std::uint16_t index;                    // below the queue's size; give it back by complete(), exactly once
  std::expected<void, ChainError> chain;  // the chain is in the caller's Chain, or was refused
};

}  // namespace virtio
