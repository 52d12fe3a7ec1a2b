// One virtqueue as the vhost-user front end sets it up, and the queue itself while it runs.
#pragma once

#include <cstdint>
#include <optional>

#include "backends/virtio/queue.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user.h"

namespace virtio {

class Vring {
 public:
  bool running() const { return queue_.has_value(); }
  const ipc::UniqueFd& kick() const { return kick_; }  // its eventfd, while the ring runs

  // Only while running(). The queue is of the device that was told by Device::start().
  Queue& queue() { return *queue_; }

  // Shows the driver what was completed, with at most one interrupt. True if there was one.
  bool publish();
  // After a RingError: no chain is taken any more, what is in flight still completes, and the front
  // end hears of it by the ring's error eventfd. Only a new start or a reset helps.
  void fail();
  // The ring goes on where another process left it, which may have died with an interrupt due: raises one, now or when
  // the front end has told how.
  void raise_lost_interrupt();
  bool failed() const { return failed_; }

 private:
  friend class Session;
  std::uint16_t size_ = 0;  // 0: not told yet
  std::optional<ipc::vhost_user::VringAddr> addresses_;
  std::optional<std::uint32_t> base_;  // SET_VRING_BASE's number
  // Where the last run ended. It outlives a reset: QEMU 7.2 resets the device before it asks.
  std::optional<std::uint32_t> stopped_at_;
  bool enabled_ = false;
  bool failed_ = false;
  bool interrupt_due_ = false;
  ipc::UniqueFd kick_;
  ipc::UniqueFd call_;
  ipc::UniqueFd error_;
  std::optional<Queue> queue_;
};

}  // namespace virtio
