#include "backends/net/queue_group.h"

#include <algorithm>

#include "backends/net/receiver.h"
#include "backends/net/sender.h"
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
      turns_(std::size_t{2} * options.pairs),
      known_(options.pairs),
      watched_(options.pairs) {
  for (std::uint16_t pair = thread; pair < options.pairs; pair = static_cast<std::uint16_t>(pair + threads_)) {
    const auto receive = static_cast<std::uint16_t>(2 * pair);  // 5.1.2: receiveq1, transmitq1, receiveq2, ...
    const auto send = static_cast<std::uint16_t>(receive + 1);
    turns_[receive].queue = std::make_unique<Receiver>(card, pair, options.telemetry->queue(receive));
    turns_[send].queue = std::make_unique<Sender>(card, pair, options.telemetry->queue(send));
  }
  running_.reserve(options.rings());
}

Token QueueGroup::kick_token(std::uint16_t index) const {
  return {.op = Op::Kick, .queue = static_cast<std::uint8_t>(index), .slot = 0, .generation = turns_[index].generation};
}
// That of the control queue, which may have the number of a data queue: it is told by its slot.
Token QueueGroup::control_token(std::uint16_t index) const {
  return {.op = Op::Kick, .queue = static_cast<std::uint8_t>(index), .slot = 1, .generation = control_generation_};
}

Result<> QueueGroup::start(std::uint16_t index, virtio::Vring& ring) {
  TRY(engine_->set_file(engine_->kick_slot(index), ring.kick()));
  Turn& turn = turns_[index];
  turn.queue->start(ring);
  turn.progress = Progress::More;
  ++turn.generation;
  turn.look = true;     // the driver may have kicked before we watched
  turn.kicked = false;  // nobody has asked yet, or a predecessor has long ago
  running_.push_back(index);
  engine_->watch(engine_->kick_slot(index), kick_token(index));
  return {};
}

void QueueGroup::stop(std::uint16_t index) {
  engine_->unwatch(engine_->kick_slot(index), kick_token(index));
  engine_->clear_file(engine_->kick_slot(index));
  turns_[index].queue->stop();
  std::erase(running_, index);
}

void QueueGroup::suspend(std::uint16_t index) {
  turns_[index].queue->leave();
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
    if (!card_.links[link]->file()) continue;
    TRY(engine_->set_file(engine_->own_slot(link_file(link)), card_.links[link]->file()));
    known_[link] = true;
    watched_[link] = link % card_.receiving % threads_ == thread_;
    if (watched_[link]) engine_->watch(engine_->own_slot(link_file(link)), link_token(link));
  }
  look();
  return {};
}

void QueueGroup::look() {
  for (const std::uint16_t index : running_) turns_[index].look = !turns_[index].queue->ring()->failed();
}

void QueueGroup::forget_links() {
  for (std::size_t link = 0; link < known_.size(); ++link) {
    if (!known_[link]) continue;
    engine_->unwatch(engine_->own_slot(link_file(link)), link_token(link));
    engine_->clear_file(engine_->own_slot(link_file(link)));
    known_[link] = false;
    watched_[link] = false;
  }
  for (const std::uint16_t index : running_) turns_[index].queue->forget_link();
}

std::size_t QueueGroup::in_flight() const {
  std::size_t chains = 0;
  for (const std::uint16_t index : running_) chains += turns_[index].queue->in_flight();
  return chains;
}

Result<> QueueGroup::round(bool closed, const serve::OtherEvents& other) {
  const std::uint64_t asleep_since = prepare_sleep(closed);
  const auto events = TRY(engine_->wait(wait_));
  time_ = ipc::monotonic_ns();
  if (asleep_since != 0 && !events.empty()) poller_.slept(asleep_since, time_);
  bool open = !closed;
  for (const Event& event : events) open = handle(event, other) && open;
  if (open) serve();
  publish();
  return {};
}

bool QueueGroup::handle(const Event& event, const serve::OtherEvents& other) {
  const Token& token = event.token;
  if (token.op == Op::Io) {
    if (token.queue == 0 && !event.more && watched_[token.slot] && event.result > 0)
      engine_->watch(engine_->own_slot(link_file(token.slot)), token);
    look();
    return true;
  }
  if (token.op != Op::Kick) {
    if (token.op == Op::Own && !event.more) engine_->watch(engine_->own_slot(kAttention), token);
    return other(event);
  }
  if (token.slot == 1) {  // of the control queue
    if (token.generation != control_generation_) return true;
    if (!event.more && event.result > 0) engine_->watch(engine_->kick_slot(token.queue), token);
    return other({.token = {.op = Op::Own}, .result = 0, .more = true});
  }
  Turn& turn = turns_[token.queue];
  virtio::Vring* const ring = turn.queue->ring();
  if (ring == nullptr || token.generation != turn.generation) return true;
  if (event.result < 0) {  // it is nothing that can be waited for
    ring->fail();
    return true;
  }
  turn.queue->recorder().kicked();
  turn.look = !ring->failed();
  if (!event.more) engine_->watch(engine_->kick_slot(token.queue), token);
  return true;
}

std::uint64_t QueueGroup::prepare_sleep(bool closed) {
  wait_ = Wait{.at_most = 0};
  if (closed && in_flight() > 0) {  // it is a network: what is under way is lost rather than waited for
    for (const std::uint16_t index : running_) turns_[index].queue->let_go();
    return 0;
  }
  if (!closed) {
    if (std::ranges::any_of(running_, [&](auto index) { return turns_[index].look; })) return 0;
    if (poller_.looks()) time_ = ipc::monotonic_ns();
    if (poller_.looks() && poller_.goes_on(time_)) {
      look();
      return 0;
    }
    if (ask_for_kicks()) return 0;
  }
  const std::uint64_t time = ipc::monotonic_ns();
  wait_.at_most = Wait::kForEver;
  for (const std::uint16_t index : running_) {
    const auto& then = turns_[index].queue->ask_at();
    if (!closed && then) wait_.at_most = std::min(wait_.at_most, *then > time ? *then - time : std::uint64_t{0});
  }
  return time;
}

// Of a ring whose next chain can be of use. True if there is work already.
bool QueueGroup::ask_for_kicks() {
  bool work = false;
  for (const std::uint16_t index : running_) {
    Turn& turn = turns_[index];
    virtio::Vring& ring = *turn.queue->ring();
    if (!turn.queue->wants_chains(turn.progress) || turn.kicked || ring.failed()) continue;
    turn.kicked = true;
    turn.look = ring.queue().request_kicks();
    work |= turn.look;
  }
  return work;
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
  Turn& turn = turns_[index];
  virtio::Vring& ring = *turn.queue->ring();
  const auto& then = turn.queue->ask_at();
  if ((!turn.look && !(then && *then <= time_)) || ring.failed()) return;
  if (turn.kicked) {
    ring.queue().suppress_kicks();
    turn.kicked = false;
  }
  turn.progress = turn.queue->serve(kBudget, time_, frames_);
  turn.look = turn.progress == Progress::More;
  if (turn.progress == Progress::Blocked && index % 2 == 1) {  // a transmit queue: its link is full
    const std::size_t link = (index / 2u) % card_.links.size();
    engine_->await_room(engine_->own_slot(link_file(link)), room_token(link));
  }
}

void QueueGroup::publish() {
  for (const std::uint16_t index : running_)
    if (turns_[index].queue->ring()->publish()) turns_[index].queue->recorder().interrupted();
}

}  // namespace net
