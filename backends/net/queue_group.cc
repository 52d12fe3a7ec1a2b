#include "backends/net/queue_group.h"

#include <algorithm>

#include "ipc/clock.h"
#include "sandbox/policy/net.h"

namespace net {

using ipc::Result;
using serve::Event;
using serve::Op;
using serve::Token;
using serve::Wait;

namespace {

constexpr unsigned kBudget = 128;  // frames of one queue before the next has its turn

// Of an engine's places for a device's own files: links follow kAttention.
constexpr std::uint16_t link_file(std::size_t link) {
  return static_cast<std::uint16_t>(1 + link);
}

bool receives(std::uint16_t index) {
  return index % 2 == 0;  // 5.1.2: receiveq1, transmitq1, receiveq2, ...
}

Token link_token(std::size_t link) {
  return {.op = Op::Io, .queue = 0, .slot = static_cast<std::uint16_t>(link), .generation = 0};
}
Token room_token(std::size_t link) {
  return {.op = Op::Io, .queue = 1, .slot = static_cast<std::uint16_t>(link), .generation = 0};
}

}  // namespace

Result<std::unique_ptr<QueueGroup>> QueueGroup::create(Card& card, const Options& options, std::uint16_t thread) {
  auto engine = TRY(serve::make_engine(
      options.manner.engine,
      {.queues = options.rings(), .own_files = link_file(options.pairs), .ring_operations = sandbox::kNetRingOpcodes}));
  std::unique_ptr<QueueGroup> group(new QueueGroup(card, options, thread, std::move(engine)));
  TRY(group->watch_links());
  return group;
}

QueueGroup::QueueGroup(Card& card, const Options& options, std::uint16_t thread, std::unique_ptr<serve::Engine> engine)
    : card_(card),
      thread_(thread),
      threads_(options.manner.threads),
      engine_(std::move(engine)),
      poller_(options.manner.poll, options.manner.poll_limit),
      known_(options.pairs),
      watched_(options.pairs) {
  for (std::uint16_t pair = 0; pair < options.pairs; ++pair) {
    const auto receive = static_cast<std::uint16_t>(2 * pair);
    const auto send = static_cast<std::uint16_t>(receive + 1);
    pairs_.push_back(std::make_unique<Pair>(Receiver(card, pair, options.telemetry->queue(receive)),
                                            Sender(card, pair, options.telemetry->queue(send)), Turn{}, Turn{}));
  }
  running_.reserve(options.rings());
}

QueueGroup::Turn& QueueGroup::turn_of(std::uint16_t index) {
  return receives(index) ? pairs_[index / 2]->receive : pairs_[index / 2]->send;
}
virtio::Vring* QueueGroup::ring_of(std::uint16_t index) {
  return receives(index) ? pairs_[index / 2]->receiver.ring() : pairs_[index / 2]->sender.ring();
}
telemetry::QueueRecorder& QueueGroup::recorder_of(std::uint16_t index) {
  return receives(index) ? pairs_[index / 2]->receiver.recorder() : pairs_[index / 2]->sender.recorder();
}

Token QueueGroup::kick_token(std::uint16_t index) {
  return {
      .op = Op::Kick, .queue = static_cast<std::uint8_t>(index), .slot = 0, .generation = turn_of(index).generation};
}
// That of the control queue, which may have the number of a data queue: it is told by its slot.
Token QueueGroup::control_token(std::uint16_t index) const {
  return {.op = Op::Kick, .queue = static_cast<std::uint8_t>(index), .slot = 1, .generation = control_generation_};
}

Result<> QueueGroup::start(std::uint16_t index, virtio::Vring& ring) {
  TRY(engine_->set_file(engine_->kick_slot(index), ring.kick()));
  Turn& turn = turn_of(index);
  turn = {.progress = Progress::More, .generation = turn.generation + 1, .look = true, .kicked = false};
  if (receives(index))
    pairs_[index / 2]->receiver.start(ring);
  else
    pairs_[index / 2]->sender.start(ring);
  running_.push_back(index);
  engine_->watch(engine_->kick_slot(index), kick_token(index));
  return {};
}

void QueueGroup::stop(std::uint16_t index) {
  engine_->unwatch(engine_->kick_slot(index), kick_token(index));
  engine_->clear_file(engine_->kick_slot(index));
  if (receives(index))
    pairs_[index / 2]->receiver.stop();
  else
    pairs_[index / 2]->sender.stop();
  std::erase(running_, index);
}

void QueueGroup::suspend(std::uint16_t index) {
  Pair& pair = *pairs_[index / 2];
  if (receives(index))
    pair.receiver.leave();
  else
    pair.sender.leave();
}

Result<> QueueGroup::watch_control(std::uint16_t index, const ipc::UniqueFd& kick) {
  TRY(engine_->set_file(engine_->kick_slot(index), kick));
  ++control_generation_;
  engine_->watch(engine_->kick_slot(index), control_token(index));
  return {};
}

void QueueGroup::unwatch_control(std::uint16_t index) {
  engine_->unwatch(engine_->kick_slot(index), control_token(index));
  engine_->clear_file(engine_->kick_slot(index));
}

Result<> QueueGroup::watch_links() {
  for (std::size_t link = 0; link < card_.links.size(); ++link) {
    if (card_.links[link] == nullptr || !card_.links[link]->file()) continue;
    TRY(engine_->set_file(engine_->own_slot(link_file(link)), card_.links[link]->file()));
    known_[link] = true;
    watched_[link] = link % card_.receiving % threads_ == thread_;
    if (watched_[link]) engine_->watch(engine_->own_slot(link_file(link)), link_token(link));
  }
  for (const std::uint16_t index : running_) turn_of(index).look = true;
  return {};
}

void QueueGroup::forget_links() {
  for (std::size_t link = 0; link < known_.size(); ++link) {
    if (!known_[link]) continue;
    engine_->unwatch(engine_->own_slot(link_file(link)), link_token(link));
    engine_->clear_file(engine_->own_slot(link_file(link)));
    known_[link] = false;
    watched_[link] = false;
  }
  let_go();
  for (const auto& pair : pairs_) pair->receiver.forget_frame();
}

std::size_t QueueGroup::in_flight() const {
  std::size_t chains = 0;
  for (const auto& pair : pairs_) chains += pair->receiver.in_flight() + pair->sender.in_flight();
  return chains;
}

Result<> QueueGroup::round(bool closed, const serve::OtherEvents& other) {
  bool open = !closed;
  // It is a network: what is under way is lost rather than waited for.
  const bool lets_go = closed && in_flight() > 0;
  if (lets_go) let_go();
  const std::uint64_t asleep_since = lets_go ? 0 : prepare_sleep(closed);
  if (lets_go) wait_ = Wait{.at_most = 0};
  const auto events = TRY(engine_->wait(wait_));
  time_ = ipc::monotonic_ns();
  if (asleep_since != 0 && !events.empty()) poller_.slept(asleep_since, time_);
  for (const Event& event : events) handle(event, other, open);
  if (open) serve();
  publish();
  return {};
}

void QueueGroup::handle(const Event& event, const serve::OtherEvents& other, bool& open) {
  const Token& token = event.token;
  if (token.op == Op::Io) {
    if (token.queue == 0 && !event.more && watched_[token.slot] && event.result > 0)
      engine_->watch(engine_->own_slot(link_file(token.slot)), token);
    for (const std::uint16_t index : running_) turn_of(index).look = true;
    return;
  }
  if (token.op != Op::Kick) {
    if (token.op == Op::Own && !event.more) engine_->watch(engine_->own_slot(kAttention), token);
    open = other(event) && open;
    return;
  }
  const bool of_control = token.slot == 1;
  if (token.generation != (of_control ? control_generation_ : turn_of(token.queue).generation)) return;
  if (of_control) {
    if (!event.more && event.result > 0) engine_->watch(engine_->kick_slot(token.queue), token);
    other({.token = {.op = Op::Own}, .result = 0, .more = true});
    return;
  }
  virtio::Vring* const ring = ring_of(token.queue);
  if (ring == nullptr) return;
  if (event.result < 0) return ring->fail();  // it is nothing that can be waited for
  recorder_of(token.queue).kicked();
  turn_of(token.queue).look = !ring->failed();
  if (!event.more) engine_->watch(engine_->kick_slot(token.queue), token);
}

std::uint64_t QueueGroup::prepare_sleep(bool closed) {
  wait_ = Wait{.at_most = 0};
  const bool more = std::ranges::any_of(running_, [&](auto index) { return turn_of(index).look; });
  if (!closed) {
    if (more) return 0;
    if (poller_.looks()) time_ = ipc::monotonic_ns();
    if (poller_.looks() && poller_.goes_on(time_)) {
      for (const std::uint16_t index : running_) turn_of(index).look = !ring_of(index)->failed();
      return 0;
    }
    if (ask_for_kicks()) return 0;
  }
  const std::uint64_t time = ipc::monotonic_ns();
  wait_.at_most = Wait::kForEver;
  const auto until = [&](std::uint64_t then) {
    wait_.at_most = std::min(wait_.at_most, then > time ? then - time : std::uint64_t{0});
  };
  if (closed) return time;
  for (const std::uint16_t index : running_) {
    const Pair& pair = *pairs_[index / 2];
    const Progress progress = turn_of(index).progress;
    if (progress == Progress::Throttled) until(receives(index) ? pair.receiver.ask_at() : pair.sender.ask_at());
    if (progress == Progress::Blocked && receives(index) && pair.receiver.in_flight() > 0)
      until(pair.receiver.ask_at());
  }
  return time;
}

// Of a ring with frames to send for the next chain, of one that takes frames for buffers where there are too few. True
// if there is work already.
bool QueueGroup::ask_for_kicks() {
  bool work = false;
  for (const std::uint16_t index : running_) {
    Turn& turn = turn_of(index);
    virtio::Vring& ring = *ring_of(index);
    const bool wanted = receives(index) ? turn.progress == Progress::Blocked : turn.progress == Progress::Idle;
    if (!wanted || turn.kicked || ring.failed()) continue;
    turn.kicked = true;
    turn.look = ring.queue().request_kicks();
    work |= turn.look;
  }
  return work;
}

void QueueGroup::let_go() {
  for (const std::uint16_t index : running_) {
    Pair& pair = *pairs_[index / 2];
    if (receives(index))
      pair.receiver.let_go();
    else
      pair.sender.let_go();
  }
}

void QueueGroup::serve() {
  const std::uint64_t before = frames_;
  if (++first_ >= running_.size()) first_ = 0;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    const std::size_t turn = first_ + i < running_.size() ? first_ + i : first_ + i - running_.size();
    serve(running_[turn]);
  }
  if (poller_.looks() && frames_ != before) poller_.found_work(time_);
}

void QueueGroup::serve(std::uint16_t index) {
  Turn& turn = turn_of(index);
  Pair& pair = *pairs_[index / 2];
  virtio::Vring& ring = *ring_of(index);
  const bool waited = turn.progress == Progress::Throttled ||
                      (turn.progress == Progress::Blocked && receives(index) && pair.receiver.in_flight() > 0);
  const bool due = waited && (receives(index) ? pair.receiver.ask_at() : pair.sender.ask_at()) <= time_;
  if ((!turn.look && !due) || ring.failed()) return;
  turn.look = false;
  if (turn.kicked) {
    ring.queue().suppress_kicks();
    turn.kicked = false;
  }
  turn.progress =
      receives(index) ? pair.receiver.serve(kBudget, time_, frames_) : pair.sender.serve(kBudget, time_, frames_);
  turn.look = turn.progress == Progress::More;
  if (!receives(index) && turn.progress == Progress::Blocked) {
    const std::size_t link = (index / 2u) % card_.links.size();
    engine_->await_room(engine_->own_slot(link_file(link)), room_token(link));
  }
}

void QueueGroup::publish() {
  for (const std::uint16_t index : running_)
    if (ring_of(index)->publish()) recorder_of(index).interrupted();
}

}  // namespace net
