// The driver of a network card, as Linux's does it: one interrupt for a batch of frames, buffers of a page that frames
// are merged from, no memory touched twice.
#include <array>
#include <cstring>
#include <vector>

#include "backends/net/linux_virtio_net.h"
#include "backends/virtio/features.h"
#include "ipc/unix_socket.h"
#include "tests/bench/net/end.h"
#include "tests/support/fake_driver.h"

namespace bench {
namespace {

using support::FakeQueue;
using support::Used;
using virtio::feature_bit;

constexpr std::uint16_t kQueueSize = 256;
constexpr std::uint32_t kPage = 4096;
constexpr std::size_t kSlot = (kFrameBytes + kPage - 1) / kPage * kPage;
constexpr std::size_t kRings = std::size_t{2} * 32 * kQueueSize + std::size_t{4} * kPage;

constexpr std::uint64_t kBasics = virtio::kVersion1 | virtio::kEventIdx | feature_bit(VIRTIO_NET_F_MRG_RXBUF);
constexpr std::uint64_t kOffloads = feature_bit(VIRTIO_NET_F_CSUM) | feature_bit(VIRTIO_NET_F_GUEST_CSUM) |
                                    feature_bit(VIRTIO_NET_F_HOST_TSO4) | feature_bit(VIRTIO_NET_F_HOST_TSO6) |
                                    feature_bit(VIRTIO_NET_F_HOST_ECN) | feature_bit(VIRTIO_NET_F_GUEST_TSO4) |
                                    feature_bit(VIRTIO_NET_F_GUEST_TSO6) | feature_bit(VIRTIO_NET_F_GUEST_ECN);

class CardEnd final : public End {
 public:
  CardEnd(ipc::UniqueFd socket, bool offloads)
      : ram_(kQueueSize * (kPage + kSlot) + kRings),
        receive_(ram_, kQueueSize),
        transmit_(ram_, kQueueSize),
        front_end_(std::move(socket)) {
    const std::uint64_t offered = front_end_.get(ipc::vhost_user::Request::GetFeatures).value_or(0);
    const std::uint64_t wanted = kBasics | (offloads ? kOffloads : 0);
    if ((offered & wanted) != wanted) throw Failure("the card does not offer what is asked of it");
    for (std::uint16_t i = 0; i < kQueueSize; ++i) {
      const std::uint64_t buffer = ram_.allocate(kPage, kPage);
      receive_.put(i, {buffer, kPage, support::kWrite});
      receive_.offer(i);
      buffers_[i] = ram_.at(buffer, kPage);
    }
    for (std::uint16_t i = 0; i < kQueueSize; ++i) {
      slot_addresses_[i] = ram_.allocate(kSlot, kPage);
      slots_[i] = ram_.at(slot_addresses_[i], kFrameBytes);
      free_.push_back(i);
    }
    if (!front_end_.greet(ram_, wanted) || !front_end_.start(receive_, 0) || !front_end_.start(transmit_, 1))
      throw Failure("the card does not start");
    // DPDK, which offers VHOST_USER_PROTOCOL_F_STATUS, moves no frame before it is told DRIVER_OK.
    constexpr std::uint64_t kDriverOk = 0xf;  // with all that comes before it (virtio 1.2, 2.1)
    const std::uint64_t protocol = front_end_.get(ipc::vhost_user::Request::GetProtocolFeatures).value_or(0);
    if ((protocol & ipc::vhost_user::bit(ipc::vhost_user::ProtocolFeature::Status)) != 0)
      front_end_.send(ipc::vhost_user::Request::SetStatus, kDriverOk);
    receive_.kick();
  }

  // The slot that was used last is still in the cache.
  std::optional<std::span<std::byte>> room() override {
    while (const auto sent = transmit_.take_used()) free_.push_back(static_cast<std::uint16_t>(sent->id));
    return free_.empty() ? std::nullopt : std::optional(slots_[free_.back()]);
  }

  std::span<const iovec> receive(std::span<std::byte> /*room*/) override {
    give_back();
    auto used = receive_.take_used();
    while (used && used->length < sizeof(net::Header)) {  // buffers of a frame that the card gave up
      receive_.offer(static_cast<std::uint16_t>(used->id));
      used = receive_.take_used();
    }
    if (!used) return {};
    take(*used);
    net::Header header;
    std::memcpy(&header, parts_[0].iov_base, sizeof header);
    for (std::uint16_t i = 1; i < header.num_buffers; ++i) {  // all come at once (virtio 1.2, 5.1.6.4)
      used = receive_.take_used();
      if (!used) throw Failure("the card gave a part of a frame");
      take(*used);
    }
    return std::span(parts_).first(count_);
  }

  void send(std::span<const iovec> frame) override {
    const std::uint16_t slot = free_.back();
    if (frame.size() != 1 || frame[0].iov_base != slots_[slot].data()) throw Failure("no frames of others for a card");
    free_.pop_back();
    transmit_.put(slot, {slot_addresses_[slot], static_cast<std::uint32_t>(frame[0].iov_len)});
    transmit_.offer(slot);
  }

  void flush() override {
    give_back();
    for (FakeQueue* queue : {&receive_, &transmit_})
      if (queue->wants_kick(true)) queue->kick();
  }

  pollfd has_frames() const override { return {.fd = receive_.call_fd().get(), .events = POLLIN, .revents = 0}; }
  pollfd has_room() const override { return {.fd = transmit_.call_fd().get(), .events = POLLIN, .revents = 0}; }
  void arm() override {
    for (FakeQueue* queue : {&receive_, &transmit_}) queue->set_used_event(static_cast<std::uint16_t>(queue->base()));
  }
  void disarm() override {
    for (FakeQueue* queue : {&receive_, &transmit_}) queue->interrupts();
  }

 private:
  void take(const Used& used) {
    heads_[count_] = static_cast<std::uint16_t>(used.id);
    parts_[count_++] = {buffers_[used.id].data(), used.length};
  }
  void give_back() {
    for (const std::uint16_t head : std::span(heads_).first(std::exchange(count_, 0))) receive_.offer(head);
  }

  support::GuestRam ram_;
  FakeQueue receive_;
  FakeQueue transmit_;
  support::FakeFrontEnd front_end_;
  std::array<std::span<std::byte>, kQueueSize> buffers_;  // of the receive queue, by head
  std::array<std::span<std::byte>, kQueueSize> slots_;    // of the transmit queue, by head: a frame each
  std::array<std::uint64_t, kQueueSize> slot_addresses_{};
  std::vector<std::uint16_t> free_;  // slots
  // Of the frame that receive() gave.
  std::array<iovec, kQueueSize> parts_{};
  std::array<std::uint16_t, kQueueSize> heads_{};
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<End> open_card_end(const std::string& socket_path, bool offloads) {
  auto socket = ipc::connect_unix(socket_path, SOCK_STREAM | SOCK_CLOEXEC);
  if (!socket) throw Failure(ipc::describe(socket.error()));
  return std::make_unique<CardEnd>(std::move(*socket), offloads);
}

}  // namespace bench
