// The session's messages about memory and rings.

#include <algorithm>
#include <bit>
#include <cstring>

#include "backends/virtio/features.h"
#include "backends/virtio/session.h"

namespace virtio {

using ipc::failure;
using ipc::Result;
using ipc::vhost_user::MemoryRegion;
using ipc::vhost_user::MemoryTableHeader;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::SingleMemoryRegion;
using ipc::vhost_user::VringAddr;
using ipc::vhost_user::VringState;

Result<> Session::set_mem_table(Message& message) {
  MemoryTableHeader header;
  std::memcpy(&header, message.payload.data(), sizeof header);
  const std::size_t count = (message.payload.size() - sizeof header) / sizeof(MemoryRegion);
  const bool whole = message.payload.size() == sizeof header + count * sizeof(MemoryRegion);
  if (!whole || header.regions != count || message.fds.size() != count)
    return failure(EINVAL, fmt::format("vhost-user: memory table of {} regions in {} bytes with {} descriptors",
                                       header.regions, message.payload.size(), message.fds.size()));
  MemoryTable table(sealing_);
  for (std::size_t i = 0; i < count; ++i) {
    MemoryRegion region;
    std::memcpy(&region, message.payload.data() + sizeof header + i * sizeof region, sizeof region);
    TRY(table.add(region, message.fds[i]));
  }
  return move_to(std::move(table));
}

Result<> Session::add_mem_reg(Message& message) {
  const MemoryRegion region = message.as<SingleMemoryRegion>()->region;
  if (memory_.add_again(region, message.fds[0])) return {};
  TRY(memory_.add(region, message.fds[0]));
  tell_memory();
  return {};
}

Result<> Session::rem_mem_reg(Message& message) {
  const MemoryRegion region = message.as<SingleMemoryRegion>()->region;
  const bool in_use = std::ranges::any_of(rings_, [&](const Vring& ring) {
    if (!ring.running()) return false;
    return std::ranges::any_of(
        std::array{ring.addresses_->descriptor, ring.addresses_->available, ring.addresses_->used},
        [&](std::uint64_t address) {
          return address >= region.user_address && address - region.user_address < region.size;
        });
  });
  if (in_use && memory_.last(region)) return failure(EBUSY, "vhost-user: REM_MEM_REG of memory in which a ring runs");
  TRY(memory_.remove(region));
  tell_memory();
  return {};
}

Result<Session::Queues> Session::remake_queues(const MemoryTable& memory) const {
  Queues queues;
  for (const Vring& ring : rings_)
    if (ring.running()) queues[index_of(ring)] = TRY(make_queue(ring, memory));
  return queues;
}

void Session::replace_queues(Queues queues) {
  for (Vring& ring : rings_)
    if (ring.running()) ring.queue_ = std::move(queues[index_of(ring)]);
}

Result<> Session::move_to(MemoryTable memory) {
  auto queues = TRY(remake_queues(memory));
  memory_ = std::move(memory);
  replace_queues(std::move(queues));
  tell_memory();
  return {};
}

Result<Vring*> Session::ring_at(std::uint32_t index) {
  if (index >= device_.queues())
    return failure(EINVAL, fmt::format("vhost-user: ring {} of a device that has {}", index, device_.queues()));
  return &rings_[index];
}

Result<Queue> Session::make_queue(const Vring& ring, const MemoryTable& memory) const {
  const auto descriptors = memory.to_guest(ring.addresses_->descriptor);
  const auto available = memory.to_guest(ring.addresses_->available);
  const auto used = memory.to_guest(ring.addresses_->used);
  if (!descriptors || !available || !used) return failure(EINVAL, "vhost-user: ring outside of the memory table");
  const RingFeatures features{
      .indirect = (features_ & kIndirectDesc) != 0,
      .event_idx = (features_ & kEventIdx) != 0,
  };
  const std::uint32_t fresh = Queue::fresh_position(packed());
  const std::uint32_t position = ring.running() ? ring.queue_->position() : ring.base_.value_or(fresh);
  const RingAddresses guest{*descriptors, *available, *used};
  const auto region = TRY(inflight_part(ring));
  auto queue = [&]() -> Result<Queue> {
    if (packed()) {
      auto made = TRY(PackedQueue::create(memory.memory(), ring.size_, guest, features, position));
      if (region) TRY(made.resume(*region));
      return Queue(std::move(made));
    }
    if (position > 0xffff) return failure(EINVAL, fmt::format("vhost-user: index {:#x} of a split ring", position));
    auto made =
        TRY(SplitQueue::create(memory.memory(), ring.size_, guest, features, static_cast<std::uint16_t>(position)));
    if (region) made.resume(TRY(InflightLog::attach(*region, inflight_->queue_size)));
    return Queue(std::move(made));
  }();
  if (queue) TRY(log_writes(ring, memory, *queue));
  return queue;
}

Result<> Session::start_if_ready(Vring& ring) {
  // Without the protocol features a ring is enabled from the start.
  const bool enabled = ring.enabled_ || (features_ & ipc::vhost_user::kProtocolFeaturesBit) == 0;
  if (ring.running() || !enabled || !ring.kick_ || ring.size_ == 0 || !ring.addresses_) return {};
  ring.queue_ = TRY(make_queue(ring, memory_));
  ring.failed_ = false;
  auto started = device_.start(index_of(ring), ring);
  if (!started)
    ring.queue_.reset();
  else if (!ring.queue_->fresh())
    ring.raise_lost_interrupt();
  return started;
}

void Session::stop_ring(Vring& ring) {
  if (!ring.running()) return;
  device_.stop(index_of(ring));
  ring.base_ = ring.queue_->position();
  ring.stopped_at_ = ring.base_;
  ring.queue_.reset();
}

void Session::reset_rings() {
  for (Vring& ring : rings_) {
    stop_ring(ring);
    const auto stopped_at = ring.stopped_at_;
    ring = Vring();
    ring.stopped_at_ = stopped_at;
  }
}

Result<> Session::set_vring_num(Message& message) {
  const VringState state = *message.as<VringState>();
  Vring* ring = TRY(ring_at(state.index));
  if (ring->running()) return failure(EBUSY, "vhost-user: SET_VRING_NUM of a ring that runs");
  // 2.7: the size of a split ring is a power of two; 2.8.10.1: that of a packed one need not be.
  if (state.num == 0 || state.num > kMaxQueueSize || (!packed() && !std::has_single_bit(state.num)))
    return failure(EINVAL, fmt::format("vhost-user: ring of {} entries", state.num));
  ring->size_ = static_cast<std::uint16_t>(state.num);
  return {};
}

Result<> Session::set_vring_addr(Message& message) {
  const VringAddr addresses = *message.as<VringAddr>();
  Vring* ring = TRY(ring_at(addresses.index));
  const std::uint32_t known = negotiated(ProtocolFeature::LogShmfd) ? ipc::vhost_user::kVringLog : 0;
  if ((addresses.flags & ~known) != 0)
    return failure(EINVAL, fmt::format("vhost-user: SET_VRING_ADDR with flags {:#x}", addresses.flags));
  const auto before = std::exchange(ring->addresses_, addresses);
  auto moved = [&]() -> Result<> {
    if (!ring->running()) return start_if_ready(*ring);
    ring->queue_ = TRY(make_queue(*ring, memory_));
    return {};
  }();
  if (!moved) ring->addresses_ = before;
  return moved;
}

Result<> Session::set_vring_base(Message& message) {
  const VringState state = *message.as<VringState>();
  Vring* ring = TRY(ring_at(state.index));
  if (ring->running()) return failure(EBUSY, "vhost-user: SET_VRING_BASE of a ring that runs");
  if (!packed() && state.num > 0xffff) return failure(EINVAL, fmt::format("vhost-user: ring index {:#x}", state.num));
  ring->base_ = state.num;
  ring->stopped_at_.reset();
  return {};
}

Result<> Session::get_vring_base(Message& message) {
  const VringState state = *message.as<VringState>();
  Vring* ring = TRY(ring_at(state.index));
  stop_ring(*ring);
  ring->kick_ = ipc::UniqueFd();  // the ring starts again with a new SET_VRING_KICK
  const std::uint32_t fresh = Queue::fresh_position(packed());
  const std::uint32_t position = ring->base_ ? *ring->base_ : ring->stopped_at_.value_or(fresh);
  return reply(message, ipc::vhost_user::payload_of(VringState{state.index, position}));
}

void Session::suspend_ring(const Message& message) {
  const auto state = message.as<VringState>();
  if (!state || state->index >= device_.queues() || !inflight_ || !negotiated(ProtocolFeature::GetVringBaseInflight))
    return;
  if (rings_[state->index].running()) device_.suspend(static_cast<std::uint16_t>(state->index));
}

Result<Session::RingEvent> Session::ring_event(Message& message) {
  const std::uint64_t value = *message.as<std::uint64_t>();
  const bool without = (value & ipc::vhost_user::kVringNoFd) != 0;
  if ((value & ~(ipc::vhost_user::kVringIndexMask | ipc::vhost_user::kVringNoFd)) != 0 ||
      message.fds.size() != (without ? 0 : 1))
    return failure(EINVAL, fmt::format("vhost-user: ring event {:#x} with {} descriptors", value, message.fds.size()));
  Vring* ring = TRY(ring_at(static_cast<std::uint32_t>(value & ipc::vhost_user::kVringIndexMask)));
  return RingEvent{ring, without ? ipc::UniqueFd() : std::move(message.fds[0])};
}

Result<> Session::set_vring_kick(Message& message) {
  auto [ring, eventfd] = TRY(ring_event(message));
  if (!eventfd) return failure(EOPNOTSUPP, "vhost-user: ring without a kick eventfd, to be polled");
  stop_ring(*ring);
  ring->kick_ = std::move(eventfd);
  auto started = start_if_ready(*ring);
  if (!started) ring->kick_ = ipc::UniqueFd();
  return started;
}

Result<> Session::set_vring_call(Message& message) {
  auto [ring, eventfd] = TRY(ring_event(message));
  ring->call_ = std::move(eventfd);
  if (ring->interrupt_due_) ring->raise_lost_interrupt();
  return {};
}

Result<> Session::set_vring_err(Message& message) {
  auto [ring, eventfd] = TRY(ring_event(message));
  ring->error_ = std::move(eventfd);
  return {};
}

Result<> Session::set_vring_enable(Message& message) {
  const VringState state = *message.as<VringState>();
  Vring* ring = TRY(ring_at(state.index));
  if (state.num > 1) return failure(EINVAL, fmt::format("vhost-user: SET_VRING_ENABLE of {}", state.num));
  ring->enabled_ = state.num == 1;
  if (!ring->enabled_) {
    stop_ring(*ring);
    return {};
  }
  auto started = start_if_ready(*ring);
  if (!started) ring->enabled_ = false;
  return started;
}

}  // namespace virtio
