#include "backends/blk/queue_group.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "backends/serve/log.h"
#include "backends/serve/uring_engine.h"
#include "ipc/clock.h"
#include "sandbox/policy/blk.h"

namespace blk {

using ipc::Result;
using serve::Event;
using serve::Op;
using serve::Token;
using serve::Wait;

namespace {

constexpr std::uint64_t kRetryPause = 1'000'000'000;  // nanoseconds between tries with OnError::Stop
constexpr std::uint64_t kAskAgain = 100'000'000;      // nanoseconds: limits that were lifted hold no longer than that
constexpr std::uint16_t kQuantum = 128;               // chains taken from one ring before the next has its turn

struct Cost {
  limits::Direction direction;
  std::uint64_t bytes;
};

// What a request that has not begun takes of the limits.
Cost cost_of(Request& request) {
  if (request.kind == Kind::Read) return {limits::Direction::Read, request.data.bytes()};
  std::uint64_t bytes = request.kind == Kind::Write ? request.data.bytes() : 0;
  if (request.kind == Kind::WriteZeroes)
    for (const Range& range : request.ranges.rest()) bytes += range.bytes;
  return {limits::Direction::Write, bytes};
}

}  // namespace

Result<std::unique_ptr<QueueGroup>> QueueGroup::create(const Disk& disk, const Options& options) {
  static_assert(kPoolSize <= serve::kMaxInFlight);
  serve::EngineNeeds needs{
      .queues = options.queues, .own_files = kStoreFiles, .ring_operations = sandbox::kBlkRingOpcodes};
  if (options.memory == Memory::Pinned) {
    needs.ring_operations = sandbox::kBlkPinnedRingOpcodes;
    needs.buffers = kStoreBuffers;
  }
  auto engine = TRY(serve::make_engine(options.manner.engine, needs));
  auto store = TRY(make_store(disk.storage, *engine, options.memory));
  return std::unique_ptr<QueueGroup>(new QueueGroup(disk, options, std::move(engine), std::move(store)));
}

QueueGroup::QueueGroup(const Disk& disk, const Options& options, std::unique_ptr<serve::Engine> engine,
                       std::unique_ptr<Store> store)
    : disk_(disk),
      on_error_(options.on_error),
      limiter_(options.limiter),
      engine_(std::move(engine)),
      store_(std::move(store)),
      plain_(store_->makes_calls()),
      poller_(options.manner.poll, options.manner.poll_limit),
      pool_(std::allocator<InFlight>().allocate(kPoolSize)),
      free_(kPoolSize) {
  queues_.reserve(options.queues);
  for (std::uint16_t i = 0; i < options.queues; ++i) queues_.push_back({.recorder = options.telemetry->queue(i)});
  std::iota(free_.rbegin(), free_.rend(), std::uint16_t{0});
  running_.reserve(options.queues);
  stalled_.reserve(kPoolSize);
}

Token QueueGroup::kick_token(std::size_t queue) const {
  return {
      .op = Op::Kick, .queue = static_cast<std::uint8_t>(queue), .slot = 0, .generation = queues_[queue].generation};
}

Result<> QueueGroup::start(std::uint16_t index, virtio::Vring& ring) {
  TRY(engine_->set_file(engine_->kick_slot(index), ring.kick()));
  Queue& queue = queues_[index];
  ++queue.generation;
  queue.ring = &ring;
  queue.look = true;     // the driver may have kicked before we watched
  queue.kicked = false;  // nobody has asked yet, or a predecessor has long ago
  running_.push_back(index);
  engine_->watch(engine_->kick_slot(index), kick_token(index));
  return {};
}

void QueueGroup::stop(std::uint16_t index) {
  engine_->unwatch(engine_->kick_slot(index), kick_token(index));
  engine_->clear_file(engine_->kick_slot(index));
  Queue& queue = queues_[index];
  queue.ring = nullptr;
  queue.look = false;
  std::erase(running_, index);
}

// What the limits hold back and what is to be tried again is with no disk: it can be left.
void QueueGroup::suspend(std::uint16_t index) {
  if (const auto held = std::exchange(queues_[index].held, std::nullopt)) leave(*held);
  const auto of_this =
      std::partition(stalled_.begin(), stalled_.end(), [&](std::uint16_t slot) { return pool_[slot].queue != index; });
  std::for_each(of_this, stalled_.end(), [this](std::uint16_t slot) { leave(slot); });
  stalled_.erase(of_this, stalled_.end());
}

void QueueGroup::leave(std::uint16_t slot) {
  queues_[pool_[slot].queue].ring->queue().leave(pool_[slot].head);
  free_.push_back(slot);
}

Result<> QueueGroup::round(bool closed, const serve::OtherEvents& other) {
  bool open = !closed;
  const std::uint64_t asleep_since = prepare_sleep(closed);
  const auto events = TRY(engine_->wait(wait_));
  if (asleep_since != 0 || !events.empty()) time_ = ipc::monotonic_ns();
  if (asleep_since != 0 && !events.empty()) poller_.slept(asleep_since, time_);
  for (const Event& event : events)
    if (!handle(event)) open = other(event) && open;
  if (closed) let_go();
  if (open) serve();
  publish();
  return {};
}

std::uint64_t QueueGroup::prepare_sleep(bool closed) {
  wait_ = Wait{.at_most = 0};
  if (!closed && stalled_.empty()) {
    const auto waits = [this](std::uint16_t index) { return queues_[index].look && !queues_[index].held; };
    if (std::ranges::any_of(running_, waits) && !free_.empty()) return 0;
    if (poller_.looks()) time_ = ipc::monotonic_ns();
    if (poller_.looks() && poller_.goes_on(time_)) {
      for (const std::uint16_t index : running_) queues_[index].look = !queues_[index].ring->failed();
      return 0;
    }
    if (!free_.empty() && ask_for_kicks()) return 0;
  }
  const std::uint64_t time = ipc::monotonic_ns();
  wait_.at_most = Wait::kForEver;
  const auto until = [&](std::uint64_t then) {
    wait_.at_most = std::min(wait_.at_most, then > time ? then - time : std::uint64_t{0});
  };
  if (!stalled_.empty()) until(retry_at_);
  if (limiter_ != nullptr && !closed) {
    for (const std::uint16_t index : running_)
      if (queues_[index].held) until(queues_[index].ask_at);
  }
  return time;
}

// True if chains are there already.
bool QueueGroup::ask_for_kicks() {
  bool work = false;
  for (const std::uint16_t index : running_) {
    Queue& queue = queues_[index];
    if (queue.kicked || queue.ring->failed()) continue;
    queue.kicked = true;
    queue.look = queue.ring->queue().request_kicks();
    work |= queue.look;
  }
  return work;
}

bool QueueGroup::handle(const Event& event) {
  switch (event.token.op) {
    case Op::Kick:
      on_kick(event);
      return true;
    case Op::Io:
      on_disk_io(event.token.slot, event.result);
      return true;
    case Op::Ignored:
      return true;
    case Op::FrontEnd:
    case Op::Control:
    case Op::Wake:
    case Op::Own:
      return false;
  }
  return false;
}

void QueueGroup::on_kick(const Event& event) {
  Queue& queue = queues_[event.token.queue];
  if (queue.ring == nullptr || event.token.generation != queue.generation) return;
  if (event.result < 0) return queue.ring->fail();  // it is nothing that can be waited for
  queue.recorder.kicked();
  queue.look = !queue.ring->failed();
  if (!event.more) engine_->watch(engine_->kick_slot(event.token.queue), event.token);
}

void QueueGroup::serve() {
  if (!stalled_.empty()) return retry_stalled();
  const std::uint64_t before = taken_;
  if (++first_ >= running_.size()) first_ = 0;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    const std::size_t turn = first_ + i < running_.size() ? first_ + i : first_ + i - running_.size();
    Queue& queue = queues_[running_[turn]];
    if (queue.held && !resume(queue)) continue;
    if (queue.look) serve(queue);
  }
  if (poller_.looks() && taken_ != before) poller_.found_work(time_);
}

void QueueGroup::serve(Queue& queue) {
  queue.look = false;
  auto& ring = queue.ring->queue();
  for (std::uint16_t taken = 0; taken < kQuantum && !free_.empty() && stalled_.empty() && !queue.held; ++taken) {
    const auto head = ring.next(chain_);
    if (!head) return queue.ring->fail();
    if (!*head) return;
    if (queue.kicked) {
      ring.suppress_kicks();
      queue.kicked = false;
    }
    take(queue, **head);
  }
  queue.look = true;
}

void QueueGroup::take(Queue& queue, const virtio::Head& head) {
  ++taken_;
  if (!head.chain) return queue.ring->queue().complete(head.index, 0);
  const std::uint16_t slot = free_.back();
  InFlight& entry = *::new (static_cast<void*>(&pool_[slot])) InFlight;  // as it is: parse() fills what it needs
  entry.request.kind = Kind::GetId;                                      // what is counted for one that is nothing else
  const auto parsed = parse(chain_, disk_.shape, entry.request);
  if (!parsed) {
    const Refusal& refusal = parsed.error();
    const std::uint32_t written =
        refusal.place ? write_status(*refusal.place, refusal.status, 0, refusal.data_bytes) : std::uint32_t{0};
    queue.recorder.submitted(queue.ring->queue().in_flight());
    queue.recorder.finished(static_cast<std::size_t>(entry.request.kind), 0, 0, false);
    return queue.ring->queue().complete(head.index, written);
  }
  free_.pop_back();
  queue.recorder.submitted(queue.ring->queue().in_flight());
  entry.queue = static_cast<std::uint16_t>(&queue - queues_.data());
  entry.head = head.index;
  entry.since = time_;
  entry.bytes = cost_of(entry.request).bytes;
  if (entry.request.kind == Kind::GetId) write_id(chain_, disk_.serial);
  if (limiter_ == nullptr || !limiter_->active() || admit(queue, slot)) carry_on(slot);
}

void QueueGroup::carry_on(std::uint16_t slot) {
  bool more = true;
  while (more) {
    const Store::Outcome outcome = submit(slot);
    if (!outcome) return;
    if (plain_) time_ = ipc::monotonic_ns();  // that took its time
    more = advance(slot, *outcome);
  }
}

Store::Outcome QueueGroup::submit(std::uint16_t slot) {
  Request& request = pool_[slot].request;
  switch (request.kind) {
    case Kind::Read:
      if (request.data.bytes() == 0) return 0;
      return store_->read(request.data.rest(), request.offset, io_token(slot));
    case Kind::Write:
      if (request.data.bytes() == 0) return 0;
      return store_->write(request.data.rest(), request.offset, disk_.write_through, io_token(slot));
    case Kind::Flush:
      return store_->flush(io_token(slot));
    case Kind::GetId:
      return 0;  // take() has written it
    case Kind::Discard:
    case Kind::WriteZeroes:
      return submit_range(slot);
  }
  __builtin_unreachable();  // all kinds return
}

Store::Outcome QueueGroup::submit_range(std::uint16_t slot) {
  Request& request = pool_[slot].request;
  const std::span<Range> ranges = request.ranges.rest();
  if (ranges.empty()) return store_->flush(io_token(slot));  // see advance_range()
  const Range& range = ranges.front();
  if (!request.by_writing) {
    if (range.unmap) return store_->punch(range.offset, range.bytes, io_token(slot));
    return store_->zero(range.offset, range.bytes, io_token(slot));
  }
  request.data.clear();
  append_zeroes(request.data, range.bytes);
  return store_->write(request.data.rest(), range.offset, false, io_token(slot));
}

bool QueueGroup::advance(std::uint16_t slot, int result) {
  Request& request = pool_[slot].request;
  if (result == -EINTR || result == -EAGAIN) return true;
  if (request.kind == Kind::Discard || request.kind == Kind::WriteZeroes) return advance_range(slot, result);
  const bool moves = request.kind == Kind::Read || request.kind == Kind::Write;
  // Nothing was moved though something remains: the image ends before it should.
  if (result < 0 || (moves && result == 0 && request.data.bytes() > 0)) {
    fail(slot);
    return false;
  }
  if (moves) {
    const auto moved = static_cast<std::uint64_t>(result);
    if (moved < request.data.bytes()) {
      request.data.advance(moved);
      request.offset += moved;
      return true;
    }
  }
  finish(slot, VIRTIO_BLK_S_OK);
  return false;
}

bool QueueGroup::advance_range(std::uint16_t slot, int result) {
  Request& request = pool_[slot].request;
  if (request.ranges.rest().empty()) {  // nothing was asked for, or the flush below
    if (result < 0)
      fail(slot);
    else
      finish(slot, VIRTIO_BLK_S_OK);
    return false;
  }
  if (result == -EOPNOTSUPP && !request.by_writing) {
    if (request.kind == Kind::WriteZeroes) {
      request.by_writing = true;
      return true;
    }
    result = 0;  // what was discarded may read as anything: to do nothing is right
  }
  if (result < 0 || (request.by_writing && result == 0)) {
    fail(slot);
    return false;
  }
  Range& range = request.ranges.rest().front();
  const std::uint64_t done = request.by_writing ? static_cast<std::uint64_t>(result) : range.bytes;
  range.offset += done;
  range.bytes -= done;
  if (range.bytes == 0) request.ranges.drop_first();
  if (!request.ranges.rest().empty()) return true;
  // 5.2.6.2: zeroes are written as data is, so without a cache they are durable; a discard is a hint.
  if (request.kind == Kind::WriteZeroes && disk_.write_through) return true;
  finish(slot, VIRTIO_BLK_S_OK);
  return false;
}

void QueueGroup::on_disk_io(std::uint16_t slot, int result) {
  if (advance(slot, result)) carry_on(slot);
}

// It could not be done. With OnError::Stop it will be tried again from where it got to.
void QueueGroup::fail(std::uint16_t slot) {
  if (on_error_ == OnError::Report) return finish(slot, VIRTIO_BLK_S_IOERR);
  if (!std::exchange(stopped_, true)) serve::say("I/O error: stopped, and trying again every second");
  if (stalled_.empty()) retry_at_ = ipc::monotonic_ns() + kRetryPause;
  stalled_.push_back(slot);
}

void QueueGroup::retry_stalled() {
  if (ipc::monotonic_ns() < retry_at_) return;
  std::array<std::uint16_t, kPoolSize> again;
  const auto end = std::ranges::copy(stalled_, again.begin()).out;
  stalled_.clear();
  std::for_each(again.begin(), end, [this](std::uint16_t slot) { carry_on(slot); });
}

void QueueGroup::let_go() {
  for (const std::uint16_t slot : stalled_) finish(slot, VIRTIO_BLK_S_IOERR);
  stalled_.clear();
  if (limiter_ == nullptr) return;
  for (const std::uint16_t index : running_)
    if (const auto held = std::exchange(queues_[index].held, std::nullopt)) carry_on(*held);
}

bool QueueGroup::admit(Queue& queue, std::uint16_t slot) {
  Request& request = pool_[slot].request;
  const auto [direction, bytes] = cost_of(request);
  if (request.kind == Kind::GetId) return true;
  const std::uint64_t time = ipc::monotonic_ns();
  const std::uint64_t wait = limiter_->admit(direction, bytes, time);
  if (wait == 0) return true;
  if (!queue.held) queue.held_since = time;
  queue.held = slot;
  queue.ask_at = time + std::min(wait, kAskAgain);
  return false;
}

bool QueueGroup::resume(Queue& queue) {
  if (ipc::monotonic_ns() < queue.ask_at) return false;
  const std::uint16_t slot = *queue.held;
  if (!admit(queue, slot)) return false;
  queue.recorder.throttled(ipc::monotonic_ns() - queue.held_since);
  queue.held.reset();
  queue.look = true;
  carry_on(slot);
  return true;
}

void QueueGroup::finish(std::uint16_t slot, std::uint8_t status) {
  const InFlight& entry = pool_[slot];
  const Request& request = entry.request;
  const std::uint32_t filled = status == VIRTIO_BLK_S_OK ? request.fills : 0;
  const std::uint32_t written = write_status(request.status, status, filled, request.data_bytes);
  Queue& queue = queues_[entry.queue];
  queue.recorder.finished(static_cast<std::size_t>(request.kind), entry.bytes, time_ - entry.since,
                          status == VIRTIO_BLK_S_OK);
  queue.ring->queue().complete(entry.head, written);
  free_.push_back(slot);
}

void QueueGroup::publish() {
  for (const std::uint16_t index : running_)
    if (queues_[index].ring->publish()) queues_[index].recorder.interrupted();
}

}  // namespace blk
