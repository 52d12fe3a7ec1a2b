// A virtqueue as devices use it, whatever its layout.
#pragma once

#include <utility>

#include "backends/virtio/split_queue.h"

namespace virtio {

class Queue {
 public:
  explicit Queue(SplitQueue ring) : ring_(std::move(ring)) {}

  std::uint16_t size() const { return ring_.size(); }
  std::uint16_t in_flight() const { return ring_.in_flight(); }
  // Where the ring stands, as SET_VRING_BASE tells it.
  std::uint32_t position() const { return ring_.position(); }

  // Takes the next chain that the driver made available and puts its buffers into `chain`; nothing if
  // there is none. After a RingError the queue is of no more use.
  std::expected<std::optional<Head>, RingError> next(Chain& chain) { return ring_.next(chain); }

  // Gives `head` back; `written` is how many bytes from the start of the writable part hold data.
  // The driver sees it after publish().
  void complete(std::uint16_t head, std::uint32_t written) { ring_.complete(head, written); }

  // Shows the driver all that was completed since the last call. True if it wants an interrupt.
  bool publish() { return ring_.publish(); }

  // The driver need not kick while we look at the ring anyhow.
  void suppress_kicks() { ring_.suppress_kicks(); }
  // The driver shall kick for the next chain. True if there is one already: look again.
  bool request_kicks() { return ring_.request_kicks(); }

 private:
  SplitQueue ring_;
};

}  // namespace virtio
