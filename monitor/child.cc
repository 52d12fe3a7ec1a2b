#include "monitor/child.h"

#include "monitor/message.h"

namespace monitor {

using ipc::Result;

namespace {

// Frames handled for one wake-up: a child that floods waits for its turn like the others.
constexpr int kFramesAtOnce = 16;
constexpr int kLastRounds = 64;  // more than a socket's buffer holds

}  // namespace

Child::Child(ipc::EventLoop& loop, const std::string& machine, std::string name, Listener listener)
    : loop_(loop),
      name_(std::move(name)),
      listener_(std::move(listener)),
      log_(loop, [machine, name = name_](std::string_view line) { say(machine, fmt::format("{}: {}", name, line)); }) {}

Result<std::unique_ptr<Child>> Child::start(ipc::EventLoop& loop, Spawner& spawner, const std::string& machine,
                                            std::string name, const Spawner::Order& order, Listener listener) {
  std::unique_ptr<Child> child(new Child(loop, machine, std::move(name), std::move(listener)));
  auto pair = TRY(ipc::ControlChannel::pair());
  child->channel_ = std::move(pair.ours);
  const ipc::UniqueFd log = TRY(child->log_.open());
  child->process_.emplace(TRY(spawner.run(order, pair.theirs, log)));
  Child* self = child.get();
  TRY(loop.watch(self->channel_.socket(), [self] { self->receive(); }));
  self->listening_ = true;
  TRY(loop.watch(self->process_->pidfd(), [self] { self->reap(); }));
  self->watching_ = true;
  return child;
}

Child::~Child() {
  if (listening_) loop_.unwatch(channel_.socket());
  if (watching_) loop_.unwatch(process_->pidfd());
  process_.reset();
  log_.finish();
}

void Child::receive() {
  for (int i = 0; i < kFramesAtOnce; ++i) {
    auto frame = channel_.receive(false);
    if (!frame && frame.error().code == EAGAIN) return;
    if (frame && *frame) {
      listener_.said(std::move(**frame));
      continue;
    }
    loop_.unwatch(channel_.socket());
    listening_ = false;
    if (!frame) listener_.broke_protocol(frame.error());
    return;  // closed: its end follows
  }
}

void Child::reap() {
  auto exit = process_->exit_status();
  if (!exit || !*exit) return;
  loop_.unwatch(process_->pidfd());
  watching_ = false;
  for (int i = 0; listening_ && i < kLastRounds; ++i) receive();  // what it said before its end
  log_.finish();
  listener_.ended(**exit);
}

}  // namespace monitor
