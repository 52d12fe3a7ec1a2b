#include "monitor/device.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "monitor/message.h"
#include "monitor/resources.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

// How long to wait before a back end is replaced: not at all if it has served for a while; otherwise longer each time,
// as what it died of may come again at once.
constexpr std::chrono::milliseconds kServedWell{100};
constexpr std::chrono::milliseconds kLeastPatience{10};
constexpr std::chrono::milliseconds kMostPatience{2000};
// One that ended by itself has seen its front end go, and the machine is about to end.
constexpr std::chrono::milliseconds kAfterCleanEnd{50};
// One that vcpu-host has dropped ends by itself, or never.
constexpr std::chrono::milliseconds kToEnd{1000};
// Beyond what any guest has waited.
constexpr std::uint64_t kMostGap = std::uint64_t{1} << 40;

// What a guest can bring about at will must not fill the operator's log.
bool worth_saying(unsigned times) {
  return times <= 16 || std::has_single_bit(times);
}

}  // namespace

Result<std::unique_ptr<Device>> Device::create(ipc::EventLoop& loop, Spawner& spawner, const std::string& machine_name,
                                               Machine& machine, Plan plan) {
  std::unique_ptr<Device> device(new Device(loop, spawner, machine_name, machine, std::move(plan)));
  const std::size_t events = 2 * device->plan_.queues + 1;
  for (std::size_t i = 0; i < events; ++i) device->events_.push_back(TRY(make_event()));
  return device;
}

std::vector<int> Device::events() const {
  std::vector<int> fds;
  for (const UniqueFd& event : events_) fds.push_back(event.get());
  return fds;
}

void Device::say(const std::string& text) const {
  monitor::say(machine_name_, fmt::format("{}: {}", plan_.name, text));
}

Result<> Device::start(ProgramKind program, const sandbox::Limits& limits) {
  sealed_ = false;
  seal_ = {};
  if (trial_ && trial_->stage == Trial::Stage::Due) trial_->stage = Trial::Stage::Running;
  Child::Listener listener{
      .said =
          [this](ipc::Frame frame) {
            const auto handled = ipc::guarded([&] { return said(std::move(frame)); });
            if (!handled) misbehaved(handled.error());
          },
      .broke_protocol = [this](const ipc::Error& error) { misbehaved(error); },
      .ended = [this](const sandbox::Exit& exit) { ended(exit); },
  };
  const Spawner::Order order{
      .slot = plan_.slot, .program = program, .given = trial_ ? &trial_->program : nullptr, .limits = limits};
  child_ = TRY(Child::start(loop_, spawner_, machine_name_, plan_.name, order, std::move(listener)));
  return {};
}

Result<Connection> Device::connect() {
  found_ = std::chrono::steady_clock::now();
  UniqueFd socket = TRY(plan_.find_back_end(*this));
  Connection connection{.socket = std::move(socket), .requests = TRY(ipc::StreamPair::make())};
  ++connections_;
  return connection;
}

Result<> Device::said(ipc::Frame frame) {
  const auto message = frame.root<schema::FromBackend>();
  switch (message.which()) {
    case schema::FromBackend::SEALED:
      if (std::exchange(sealed_, true)) break;
      seal_ = ipc::Seal::told(message.getSealed());
      if (trial_) trial_->stage = Trial::Stage::Passed;
      return machine_.guest_runs() ? Result<>() : machine_.device_sealed();
    case schema::FromBackend::FAILED: {
      Ending ending = Ending::by_failure(plan_.name, message.getFailed());
      if (machine_.guest_runs())
        cause_ = std::move(ending.reason);  // its end follows
      else
        machine_.end(std::move(ending));
      return {};
    }
    case schema::FromBackend::LINK_LOST:
      if (plan_.way == nullptr) break;
      plan_.way->lost();
      return {};
  }
  return failure(EPROTO, "it said something out of turn");
}

// A sandboxed process that says what it must not is done with, whoever made it do so.
void Device::misbehaved(const ipc::Error& error) {
  cause_ = ipc::describe(error);
  if (machine_.guest_runs())
    child_->kill();
  else
    machine_.end({Ending::Kind::InternalError, fmt::format("{}: {}", plan_.name, cause_)});
}

void Device::ended(const sandbox::Exit& exit) {
  if (!machine_.guest_runs()) return machine_.lost(plan_.name, exit);
  if (cause_.empty()) cause_ = exit.describe();
  give_up_trial();
  replace(exit.clean() ? kAfterCleanEnd : std::chrono::milliseconds(0));
}

void Device::give_up_trial() {
  if (!trial_ || trial_->stage != Trial::Stage::Running) return;
  trial_.reset();
  say(fmt::format("the new program does not serve ({}); the old one is started again", cause_));
}

// Every connection that vcpu-host is given it loses once: what it says of an older one has been dealt with.
Result<> Device::connection_lost(schema::BackEndLoss::Reader loss) {
  if (++losses_ > connections_) return failure(EPROTO, "it lost a connection that it never had");
  const std::string reason = printable(loss.getReason().cStr());
  if (loss.getNeedsReset() && worth_saying(losses_)) say("the guest goes on without it until it resets it: " + reason);
  if (losses_ != connections_ || retry_.due()) return {};  // due: its process has ended, and another comes
  if (loss.getNeedsReset()) cause_ = reason;
  if (!child_) {
    cause_ = reason;
    replace();
    return {};
  }
  return retry_.after(kToEnd, [this, reason] {
    cause_ = reason;
    child_->kill();
  });
}

void Device::replace(std::chrono::milliseconds at_least) {
  if (plan_.way != nullptr) plan_.way->detach();
  if (std::chrono::steady_clock::now() - found_ >= kServedWell) patience_ = {};
  const auto delay = std::max(patience_, at_least);
  patience_ = std::clamp(2 * patience_, kLeastPatience, kMostPatience);
  const auto armed = retry_.after(delay, [this] { find_another(); });
  if (!armed)
    machine_.end({Ending::Kind::InternalError, fmt::format("{}: {}", plan_.name, ipc::describe(armed.error()))});
}

void Device::find_another() {
  child_.reset();
  const auto connection = connect();
  if (connection) return machine_.reconnect(plan_.slot, *connection);
  give_up_trial();
  if (worth_saying(++failures_)) say(fmt::format("{}; no other yet: {}", cause_, ipc::describe(connection.error())));
  replace();
}

// At most once for each connection but the first.
Result<> Device::connection_replaced(schema::BackEndReplacement::Reader replacement) {
  if (++replacements_ >= connections_) return failure(EPROTO, "it spoke of a back end that it was not given");
  const std::chrono::microseconds gap(std::min(replacement.getGapMicroseconds(), kMostGap));
  gaps_.add(gap);
  last_cause_ = std::exchange(cause_, {});
  failures_ = 0;
  const unsigned times = connections_ - 1;
  if (worth_saying(times))
    say(fmt::format("lost ({}), and back after {:.1f} ms (restart {})", last_cause_,
                    static_cast<double>(gap.count()) / 1000, times));
  return {};
}

Result<> Device::restart(UniqueFd program) {
  if (!child_)
    return failure(EOPNOTSUPP, fmt::format("{}: its back end is another program's, or being replaced", plan_.name));
  if (program) trial_ = Trial{.program = std::move(program)};
  cause_ = "asked by the operator";
  child_->kill();
  return {};
}

void Device::describe(schema::ProcessStatus::Builder status) const {
  status.setName(plan_.name);
  status.setPid(child_ ? child_->pid() : 0);
  seal_.tell(status.initSeal());
  status.setRestarts(connections_ - 1);
  status.setCause(last_cause_);
  if (gaps_.times() > 0) status.setGaps(gaps_.describe());
}

}  // namespace monitor
