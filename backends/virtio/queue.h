// A virtqueue as devices use it, whatever its layout.
#pragma once

#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "backends/virtio/dirty_log.h"
#include "backends/virtio/packed_queue.h"
#include "backends/virtio/split_queue.h"

namespace virtio {

class Queue {
 private:
  template <class F>
  auto visit(F&& f) const {
    if (const auto* split = std::get_if<SplitQueue>(&ring_)) [[likely]]
      return f(*split);
    return f(*std::get_if<PackedQueue>(&ring_));
  }
  template <class F>
  auto visit(F&& f) {
    if (auto* split = std::get_if<SplitQueue>(&ring_)) [[likely]]
      return f(*split);
    return f(*std::get_if<PackedQueue>(&ring_));
  }

 public:
  explicit Queue(SplitQueue ring) : ring_(std::move(ring)) {}
  explicit Queue(PackedQueue ring) : ring_(std::move(ring)) {}

  // Marks from now on in `log` what the device writes: the writable buffers of each chain when it is
  // completed, and `own`, the parts of the ring that are the device's, when they are written. Nothing
  // is in flight. Both are borrowed, `memory` is what the ring lies in.
  void log_writes(const DirtyLog& log, const ipc::GuestMemory& memory, std::vector<GuestRange> own);

  std::uint16_t size() const {
    return visit([](const auto& ring) { return ring.size(); });
  }
  std::uint16_t in_flight() const {
    return visit([](const auto& ring) { return ring.in_flight(); });
  }
  // Where the ring stands, as SET_VRING_BASE tells it.
  std::uint32_t position() const {
    return visit([](const auto& ring) { return ring.position(); });
  }
  // It stands where a driver's new ring begins.
  bool fresh() const { return position() == fresh_position(std::holds_alternative<PackedQueue>(ring_)); }
  static constexpr std::uint32_t fresh_position(bool packed) { return packed ? 0x8000'8000 : 0; }

  // Takes the next chain that the driver made available and puts its buffers into `chain`; nothing if
  // there is none. After a RingError the queue is of no more use.
  std::expected<std::optional<Head>, RingError> next(Chain& chain) {
    auto head = visit([&](auto& ring) { return ring.next(chain); });
    if (logging_) [[unlikely]]
      if (head && *head) remember(**head, chain);
    return head;
  }

  // Gives `head` back; `written` is how many bytes from the start of the writable part hold data.
  // The driver sees it after publish().
  void complete(std::uint16_t head, std::uint32_t written) {
    if (logging_) [[unlikely]]
      mark_written(head);
    visit([&](auto& ring) { ring.complete(head, written); });
  }

  // Leaves `head`, of which nothing is being carried out, to who starts the ring next with the same
  // in-flight region. Only before the ring is stopped, see Device::suspend().
  void leave(std::uint16_t head) {
    visit([&](auto& ring) { ring.leave(head); });
  }

  // Shows the driver all that was completed since the last call. True if it wants an interrupt.
  bool publish() {
    const bool interrupt = visit([](auto& ring) { return ring.publish(); });
    if (logging_) [[unlikely]]
      mark_own();
    return interrupt;
  }

  // The driver need not kick while we look at the ring anyhow.
  void suppress_kicks() {
    visit([](auto& ring) { ring.suppress_kicks(); });
    if (logging_) [[unlikely]]
      mark_own();
  }
  // The driver shall kick for the next chain. True if there is one already: look again.
  bool request_kicks() {
    const bool more = visit([](auto& ring) { return ring.request_kicks(); });
    if (logging_) [[unlikely]]
      mark_own();
    return more;
  }

 private:
  struct Logging {
    const DirtyLog* log;
    const ipc::GuestMemory* memory;
    std::vector<GuestRange> own;
    std::vector<std::vector<GuestRange>> writable;  // by head, of chains in flight
  };

  void remember(const Head& head, const Chain& chain);
  void mark_written(std::uint16_t head) const;
  void mark_own() const;

  std::variant<SplitQueue, PackedQueue> ring_;
  std::unique_ptr<Logging> logging_;  // while a dirty log is kept
};

}  // namespace virtio
