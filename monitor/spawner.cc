#include "monitor/spawner.h"

#include <fcntl.h>

#include "monitor/passt.h"

namespace monitor {

using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

// Below are those of the devices and of vcpu-host.
constexpr std::size_t kFirstPasstSlot = kMaxDevices + 1;
static_assert(kFirstPasstSlot + kMaxDevices <= sandbox::kMonitorIdentity);

void fill(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& texts) {
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, texts[i]);
}

void describe(const NetConfiguration& card, schema::SpawnerSetup::Card::Builder to) {
  to.setMtu(card.mtu);
  if (const auto* wanted = std::get_if<TapConfiguration>(&card.way)) {
    auto tap = to.initTap();
    tap.setName(wanted->name);
    tap.setBridge(wanted->bridge);
    tap.setQueuePairs(card.queue_pairs);
  } else if (const auto* user = std::get_if<UserConfiguration>(&card.way)) {
    const auto arguments = passt_arguments(*user, card.mtu);
    fill(to.initPasst(static_cast<unsigned>(arguments.size())), arguments);
  } else {
    to.setCable(std::get<PairConfiguration>(card.way).path);
  }
}

void describe(const Configuration& machine, schema::SpawnerSetup::Builder to) {
  to.setName(machine.name);
  to.setControl(machine.control);
  to.setDisks(static_cast<std::uint16_t>(machine.disks.size()));
  auto cards = to.initCards(static_cast<unsigned>(machine.nets.size()));
  for (unsigned i = 0; i < cards.size(); ++i) describe(machine.nets[i], cards[i]);
  auto back_ends = to.initBackEnds(static_cast<unsigned>(machine.devices.size()));
  for (unsigned i = 0; i < back_ends.size(); ++i) back_ends.set(i, machine.devices[i].socket);
  to.setCgroup(machine.cgroup);
  to.setMemoryMib(machine.limits.memory_mib);
  to.setProcesses(machine.limits.processes);
  to.setCpuPercent(machine.limits.cpu_percent);
  to.setIoWeight(machine.limits.io_weight);
}

}  // namespace

Spawner::Process::~Process() {
  if (pidfd_) spawner_.tell(&Request::setEnd, slot_);
}

Result<std::optional<sandbox::Exit>> Spawner::Process::exit_status() {
  auto frame = TRY(spawner_.ask([this](Request request) { request.setExit(slot_); }));
  return ipc::guarded([&]() -> Result<std::optional<sandbox::Exit>> {
    const auto answer = frame.root<Answer>();
    if (!answer.isExit()) return std::optional<sandbox::Exit>();
    const auto exit = answer.getExit();
    using Kind = sandbox::Exit::Kind;
    return sandbox::Exit{exit.getKilled() ? Kind::Killed : Kind::Exited, exit.getValue(), exit.getCall()};
  });
}

Result<std::unique_ptr<Spawner>> Spawner::start(const std::string& folder, const Configuration& machine) {
  std::vector<UniqueFd> programs;
  std::vector<int> fds;
  for (const char* name : {"bulkhead-vcpu-host", "bulkhead-blk", "bulkhead-net"}) {
    if (fds.size() == 2 && machine.nets.empty()) break;
    programs.emplace_back(::open((folder + name).c_str(), O_PATH | O_CLOEXEC));
    if (!programs.back()) return ipc::system_failure(folder + name);
    fds.push_back(programs.back().get());
  }
  auto pair = TRY(ipc::ControlChannel::pair());
  auto process = TRY(sandbox::start_helper({.arguments = {folder + "bulkhead-spawner"},
                                            .socket = std::move(pair.theirs),
                                            .dies_with_us = false}));  // it removes what it made before
  std::unique_ptr<Spawner> spawner(new Spawner(std::move(process), std::move(pair.ours)));
  TRY(spawner->ask([&](Request request) { describe(machine, request.initSetup()); }, fds));
  return spawner;
}

Spawner::~Spawner() {
  channel_ = ipc::ControlChannel();
  static_cast<void>(process_.wait());
}

std::string Spawner::how_it_ended() {
  const auto exit = process_.wait();
  return exit ? exit->describe() : ipc::describe(exit.error());
}

Result<ipc::Frame> Spawner::ask(const std::function<void(Request)>& fill, std::span<const int> fds) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<schema::ToSpawner>());
  // It is ours, and does nothing that takes long: nobody else can make it wait.
  constexpr std::chrono::milliseconds kForEver{-1};
  auto frame = TRY(channel_.ask(message, fds, kForEver));
  return ipc::guarded([&]() -> Result<ipc::Frame> {
    const auto answer = frame.root<Answer>();
    if (answer.isFailed()) return ipc::failure(answer.getFailed().getCode(), answer.getFailed().getContext().cStr());
    return std::move(frame);
  });
}

Result<ipc::Frame> Spawner::ask_for_one(const std::function<void(Request)>& fill, std::span<const int> fds) {
  auto frame = TRY(ask(fill, fds));
  if (frame.fds.size() != 1) return ipc::failure(EPROTO, "the spawner's answer");
  return frame;
}

void Spawner::tell(Numbered what, std::size_t number) {
  // One that does not answer any more has ended: the machine ends too.
  static_cast<void>(ask([&](Request request) { (request.*what)(static_cast<std::uint16_t>(number)); }));
}

Result<std::vector<UniqueFd>> Spawner::make_folder() {
  return std::move(TRY(ask([](Request request) { request.setFolder(); })).fds);
}

Result<> Spawner::make_cgroup() {
  TRY(ask([](Request request) { request.setCgroup(); }));
  return {};
}

Result<ipc::Tap> Spawner::make_tap(std::size_t card) {
  auto frame = TRY(ask([&](Request request) { request.setTap(static_cast<std::uint16_t>(card)); }));
  return ipc::guarded(
      [&]() -> Result<ipc::Tap> { return ipc::Tap{frame.root<Answer>().getTap().cStr(), std::move(frame.fds)}; });
}

Result<> Spawner::seal() {
  TRY(ask([](Request request) { request.setSeal(); }));
  return {};
}

Result<Spawner::Process> Spawner::run(const Order& order, std::size_t card, std::span<const int> fds) {
  const auto fill = [&](Request request) {
    auto start = request.initStart();
    start.setSlot(order.slot);
    start.setProgram(order.program);
    start.setGiven(order.given != nullptr);
    start.setCard(static_cast<std::uint16_t>(card));
    start.setOpenFiles(order.limits.open_files);
    start.setFileBytes(order.limits.file_bytes);
    start.setThreads(order.limits.threads);
  };
  auto frame = TRY(ask_for_one(fill, fds));
  const pid_t pid = TRY(ipc::guarded([&]() -> Result<pid_t> { return frame.root<Answer>().getStarted(); }));
  return Process(*this, order.slot, pid, std::move(frame.fds[0]));
}

Result<Spawner::Process> Spawner::run(const Order& order, const UniqueFd& control, const UniqueFd& log) {
  std::vector<int> fds{control.get(), log.get()};
  if (order.given != nullptr) fds.push_back(order.given->get());
  return run(order, 0, fds);
}

Result<Spawner::Process> Spawner::run_passt(std::size_t card) {
  const auto slot = static_cast<std::uint16_t>(kFirstPasstSlot + card);
  return run({.slot = slot, .program = ProgramKind::PASST}, card, {});
}

Result<UniqueFd> Spawner::connect(std::size_t device) {
  const auto fill = [&](Request request) { request.setConnect(static_cast<std::uint16_t>(device)); };
  return std::move(TRY(ask_for_one(fill)).fds[0]);
}

Result<Spawner::End> Spawner::plug(std::size_t card) {
  auto frame = TRY(ask_for_one([&](Request request) { request.setPlug(static_cast<std::uint16_t>(card)); }));
  const bool listens = TRY(ipc::guarded([&]() -> Result<bool> { return frame.root<Answer>().isListens(); }));
  return End{std::move(frame.fds[0]), listens};
}

}  // namespace monitor
