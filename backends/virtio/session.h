// A vhost-user connection as the back end sees it: the state that the front end builds up by its
// messages, and their answers.
//
// One rule for a bad message (unknown, wrong size, wrong descriptors, wrong value, wrong moment): it
// changes nothing; if REPLY_ACK was negotiated and the message asks for an answer, the answer is a
// failure; otherwise the connection is closed, because the front end could not know that it failed.
// GET_CONFIG beyond the bounds is answered with an empty payload, as the protocol says.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "backends/virtio/device.h"
#include "backends/virtio/features.h"
#include "backends/virtio/memory_table.h"
#include "ipc/vhost_user_socket.h"

namespace virtio {

class Session {
 public:
  // Both are borrowed for the session's life.
  Session(ipc::vhost_user::Socket& socket, Device& device, Sealing sealing = Sealing::Required)
      : socket_(socket), device_(device), sealing_(sealing) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Handles one message, or holds it until what it touches is at rest (see holding()). An error: the
  // connection is of no more use. Not while holding(), nor before what was completed is published.
  ipc::Result<> handle(ipc::vhost_user::Message message);

  // A message waits until requests in flight are done. Meanwhile the device takes no new chain, and
  // no other message is read.
  bool holding() const { return held_.has_value(); }
  // To be called when requests were completed and published: handles the held message if it need not wait any more.
  ipc::Result<> resume();

  bool at_rest() const;  // no request is in flight
  // Tells the front end that the configuration space has changed, where it gave a channel for that. An
  // error is the front end's loss: the session goes on.
  ipc::Result<> config_changed();
  // Stops all rings; only when at rest.
  void end() {
    reset_rings();
    forget_inflight();
  }

  // Why a message was last answered with a failure, once: for the log.
  std::optional<ipc::Error> take_refusal() { return std::exchange(refusal_, std::nullopt); }

 private:
  using Message = ipc::vhost_user::Message;

  // Of SET_INFLIGHT_FD: one log for each ring.
  struct InflightRegion {
    ipc::Mapping mapping;
    std::span<std::byte> bytes;  // of the mapping: the rings'
    std::uint16_t queues;
    std::uint16_t queue_size;
  };

  // Who answers a message that was handled: the session where the front end asks for it, or always, or the handler.
  enum class Answer : std::uint8_t { IfAsked, Always, Own };
  struct Handler;
  static const Handler kHandlers[];
  static const Handler* find(std::uint32_t request);

  ipc::Result<> answer(const Handler* handler, Message& message);
  ipc::Result<> check(const Handler* handler, const Message& message) const;
  ipc::Result<> reply(const Message& message, std::span<const std::byte> payload);
  ipc::Result<> reply_number(const Message& message, std::uint64_t value) {
    return reply(message, ipc::vhost_user::payload_of(value));
  }

  ipc::Result<> get_features(Message& message);
  ipc::Result<> set_features(Message& message);
  ipc::Result<> get_protocol_features(Message& message);
  ipc::Result<> set_protocol_features(Message& message);
  ipc::Result<> accept_silently(Message& message);
  ipc::Result<> send_rarp(Message& message);
  ipc::Result<> net_set_mtu(Message& message);
  ipc::Result<> get_queue_num(Message& message);
  ipc::Result<> get_max_mem_slots(Message& message);
  ipc::Result<> set_mem_table(Message& message);
  ipc::Result<> add_mem_reg(Message& message);
  ipc::Result<> rem_mem_reg(Message& message);
  ipc::Result<> set_vring_num(Message& message);
  ipc::Result<> set_vring_addr(Message& message);
  ipc::Result<> set_vring_base(Message& message);
  ipc::Result<> get_vring_base(Message& message);
  ipc::Result<> set_vring_kick(Message& message);
  ipc::Result<> set_vring_call(Message& message);
  ipc::Result<> set_vring_err(Message& message);
  ipc::Result<> set_vring_enable(Message& message);
  ipc::Result<> get_config(Message& message);
  ipc::Result<> set_config(Message& message);
  ipc::Result<ipc::vhost_user::Inflight> inflight_request(const Message& message) const;
  ipc::Result<> get_inflight_fd(Message& message);
  ipc::Result<> set_inflight_fd(Message& message);
  ipc::Result<> set_log_base(Message& message);
  ipc::Result<> set_log_fd(Message& message);
  ipc::Result<> set_device_state_fd(Message& message);
  ipc::Result<> check_device_state(Message& message);
  ipc::Result<> set_backend_req_fd(Message& message);
  ipc::Result<> reset_device(Message& message);
  ipc::Result<> get_status(Message& message);
  ipc::Result<> set_status(Message& message);

  std::uint64_t offered_features() const;
  std::uint64_t offered_protocol_features() const;
  bool negotiated(ipc::vhost_user::ProtocolFeature feature) const {
    return (protocol_features_ & ipc::vhost_user::bit(feature)) != 0;
  }
  ipc::Result<Vring*> ring_at(std::uint32_t index);
  ipc::Result<Queue> make_queue(const Vring& ring, const MemoryTable& memory) const;
  bool packed() const { return (features_ & kRingPacked) != 0; }
  // The ring's part of the in-flight region, or nothing if there is no region.
  ipc::Result<std::optional<std::span<std::byte>>> inflight_part(const Vring& ring) const;
  std::size_t inflight_stride(std::uint16_t queue_size) const;
  std::size_t kept_bytes() const;  // behind the rings' part of a region that we made
  void forget_inflight();
  // What the device writes into is marked from now on, or no more. Nothing is in flight.
  ipc::Result<> log_all(bool on);
  ipc::Result<> log_writes(const Vring& ring, const MemoryTable& memory, Queue& queue) const;
  // Where the ring may stop with requests in flight, the device gives up what it has not begun.
  void suspend_ring(const Message& message);
  ipc::Result<> start_if_ready(Vring& ring);
  void stop_ring(Vring& ring);
  void reset_rings();
  std::uint16_t index_of(const Vring& ring) const { return static_cast<std::uint16_t>(&ring - rings_.data()); }
  // Running rings go on where they are, in `memory`; nothing changes unless all of them can.
  void tell_memory() { device_.use_memory(memory_.memory().mapped()); }
  ipc::Result<> move_to(MemoryTable memory);
  using Queues = std::array<std::optional<Queue>, kMaxQueues>;
  // Queues for the running rings as they stand, anew.
  ipc::Result<Queues> remake_queues(const MemoryTable& memory) const;
  void replace_queues(Queues queues);
  struct RingEvent {
    Vring* ring;
    ipc::UniqueFd eventfd;  // empty: the front end wants none
  };
  ipc::Result<RingEvent> ring_event(Message& message);

  ipc::vhost_user::Socket& socket_;
  Device& device_;
  ipc::vhost_user::Socket back_channel_;
  const Sealing sealing_;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
  std::uint8_t status_ = 0;
  MemoryTable memory_{sealing_};
  std::optional<InflightRegion> inflight_;
  std::unique_ptr<DirtyLog> dirty_log_;
  ipc::UniqueFd loading_;                // where a device state is to be read from, until CHECK_DEVICE_STATE
  bool transferred_ = true;              // the last device state was, as far as it has come
  std::array<Vring, kMaxQueues> rings_;  // after what their queues point into
  std::optional<Message> held_;
  std::optional<ipc::Error> refusal_;
};

}  // namespace virtio
