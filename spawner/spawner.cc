#include "spawner/spawner.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "ipc/unix_socket.h"
#include "sandbox/parent.h"
#include "spawner/tap.h"

namespace spawner {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

constexpr std::array kNames = {"bulkhead-vcpu-host", "bulkhead-blk", "bulkhead-net"};

std::unexpected<ipc::Error> refused(const char* what) {
  return failure(EPROTO, what);
}

// Where children or an operator's programs get descriptors of ours, we keep our own.
Result<UniqueFd> duplicate(const UniqueFd& fd) {
  UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return ipc::system_failure("duplicate a descriptor");
  return copy;
}

Descriptors one(UniqueFd fd) {
  Descriptors fds;
  fds.push_back(std::move(fd));
  return fds;
}

std::vector<std::string> strings(capnp::List<capnp::Text>::Reader list) {
  std::vector<std::string> texts;
  for (const auto text : list) texts.emplace_back(text.cStr());
  return texts;
}

}  // namespace

Spawner::~Spawner() {
  for (Slot& slot : slots_)
    if (slot) slot->kill();  // all at once; then they are waited for one by one
  for (Slot& slot : slots_) slot.reset();
  for (Card& card : cards_) unplug(card);
}

Descriptors Spawner::answer(ipc::Frame& request, Answer answer) {
  answer.setDone();
  auto done = ipc::guarded([&] { return sealed_ ? act(request, answer) : set_up(request, answer); });
  if (done) return std::move(*done);
  auto failed = answer.initFailed();
  failed.setCode(done.error().code);
  failed.setContext(done.error().context);
  return {};
}

Result<Descriptors> Spawner::set_up(ipc::Frame& request, Answer answer) {
  const auto message = request.root<schema::ToSpawner>();
  if (message.isSetup() != programs_.empty()) return refused("the setup comes first, and once");
  if (message.isSetup()) {
    TRY(bind(message.getSetup(), request.fds));
    setup_ = std::move(request);
    return Descriptors();
  }
  const auto setup = setup_.root<schema::ToSpawner>().getSetup();
  switch (message.which()) {
    case schema::ToSpawner::FOLDER:
      return make_folder(setup);
    case schema::ToSpawner::CGROUP:
      TRY(make_cgroup(setup));
      return Descriptors();
    case schema::ToSpawner::TAP: {
      TRY(card(message.getTap()));
      const auto wanted = setup.getCards()[message.getTap()];
      if (!wanted.isTap()) return refused("this card has no tap");
      ipc::Tap tap = TRY(make_tap(wanted));
      answer.setTap(tap.name);
      return std::move(tap.queues);
    }
    case schema::ToSpawner::SEAL:
      setup_ = ipc::Frame();
      TRY(sandbox::confine_parent());
      sealed_ = true;
      return Descriptors();
    default:
      return refused("this comes too soon");
  }
}

Result<> Spawner::bind(schema::SpawnerSetup::Reader setup, std::vector<UniqueFd>& fds) {
  for (const auto card : setup.getCards()) {
    cards_.emplace_back();
    if (card.isPasst()) cards_.back().passt = strings(card.getPasst());
    if (card.isCable()) cards_.back().cable = card.getCable().cStr();
  }
  if (fds.size() != (cards_.empty() ? 2 : 3)) return refused("another number of programs than the machine needs");
  programs_ = std::move(fds);
  back_ends_ = strings(setup.getBackEnds());
  return {};
}

Result<Descriptors> Spawner::make_folder(schema::SpawnerSetup::Reader setup) {
  std::vector<std::string> names{"control"};
  for (std::size_t i = 0; i < setup.getDisks(); ++i) names.push_back(fmt::format("blk{}", i));
  for (std::size_t i = 0; i < cards_.size(); ++i) names.push_back(fmt::format("net{}", i));
  folder_ = TRY(ControlFolder::make(setup.getControl().cStr(), std::move(names)));
  Descriptors sockets;
  for (const UniqueFd& socket : folder_->sockets()) sockets.push_back(TRY(duplicate(socket)));
  return sockets;
}

Result<> Spawner::make_cgroup(schema::SpawnerSetup::Reader setup) {
  cgroup_.emplace(TRY(sandbox::Cgroup::make(setup.getCgroup().cStr(), setup.getName().cStr(),
                                            {.memory_mib = setup.getMemoryMib(),
                                             .processes = setup.getProcesses(),
                                             .cpu_percent = setup.getCpuPercent(),
                                             .io_weight = setup.getIoWeight()})));
  return {};
}

Result<Descriptors> Spawner::act(ipc::Frame& request, Answer answer) {
  const auto message = request.root<schema::ToSpawner>();
  switch (message.which()) {
    case schema::ToSpawner::START: {
      const auto order = message.getStart();
      Slot& place = *TRY(slot(order.getSlot()));
      place.reset();
      sandbox::ChildProcess started = TRY(start(order, request.fds));
      UniqueFd pidfd = TRY(duplicate(started.pidfd()));
      answer.setStarted(started.pid());
      place = std::move(started);
      return one(std::move(pidfd));
    }
    case schema::ToSpawner::KILL:
      if (Slot& place = *TRY(slot(message.getKill()))) place->kill();
      return Descriptors();
    case schema::ToSpawner::END:
      TRY(slot(message.getEnd()))->reset();
      return Descriptors();
    case schema::ToSpawner::EXIT: {
      Slot& place = *TRY(slot(message.getExit()));
      if (!place) return refused("no process is in this slot");
      const auto exit = TRY(place->exit_status());
      if (!exit) {
        answer.setRuns();
        return Descriptors();
      }
      auto told = answer.initExit();
      told.setKilled(exit->kind == sandbox::Exit::Kind::Killed);
      told.setValue(exit->value);
      told.setCall(exit->call);
      return Descriptors();
    }
    case schema::ToSpawner::CONNECT: {
      if (message.getConnect() >= back_ends_.size()) return refused("no such device");
      const std::string& path = back_ends_[message.getConnect()];
      // EAGAIN, from a back end that does not accept, is an error like others: nobody waits for it here.
      auto socket = ipc::connect_unix(path, SOCK_STREAM | SOCK_NONBLOCK);
      if (!socket) return failure(socket.error().code, fmt::format("device {}: connect to its back end", path));
      return one(std::move(*socket));
    }
    case schema::ToSpawner::PLUG: {
      Card& plugged = *TRY(card(message.getPlug()));
      return one(TRY(plug(plugged, answer)));
    }
    case schema::ToSpawner::UNPLUG:
      unplug(*TRY(card(message.getUnplug())));
      return Descriptors();
    default:
      return refused("this comes too late");
  }
}

Result<Spawner::Slot*> Spawner::slot(std::size_t number) {
  if (number >= slots_.size()) return refused("no such slot");
  return &slots_[number];
}

Result<Spawner::Card*> Spawner::card(std::size_t number) {
  if (number >= cards_.size()) return refused("no such card");
  return &cards_[number];
}

Result<sandbox::ChildProcess> Spawner::start(schema::ProcessStart::Reader order, std::vector<UniqueFd>& fds) {
  if (order.getProgram() == schema::ProcessStart::Program::PASST) {
    Card& of = *TRY(card(order.getCard()));
    if (of.passt.empty() || !fds.empty()) return refused("this card has no passt, or passt a descriptor");
    of.socket = TRY(PasstSocket::make());
    of.slot = order.getSlot();
    std::vector<std::string> arguments = of.passt;
    arguments.insert(arguments.end(), {"--socket", PasstSocket::kName});
    return sandbox::start_helper({.arguments = std::move(arguments),
                                  .log = &of.socket->log(),
                                  .folder = &of.socket->folder(),
                                  .cgroup = cgroup_ ? cgroup_->directory() : nullptr});
  }
  const auto program = static_cast<std::size_t>(order.getProgram());
  if (program >= programs_.size()) return refused("no such program");
  const bool given = order.getGiven();
  if (fds.size() != (given ? 3 : 2)) return refused("another number of descriptors than a child needs");
  return sandbox::spawn({.name = kNames[program],
                         .program = given ? fds[2] : programs_[program],
                         .arguments = {},
                         .control = std::move(fds[0]),
                         .log = std::move(fds[1]),
                         .identity = sandbox::identity_of(monitor_, order.getSlot()),
                         .limits = {.open_files = order.getOpenFiles(),
                                    .file_bytes = order.getFileBytes(),
                                    .threads = order.getThreads()},
                         .cgroup = cgroup_ ? cgroup_->directory() : nullptr});
}

Result<UniqueFd> Spawner::plug(Card& card, Answer answer) {
  if (card.socket) return reach_passt(card);
  if (card.cable.empty()) return refused("this card has no cable");
  auto socket = ipc::connect_unix(card.cable, SOCK_STREAM | SOCK_NONBLOCK);
  if (socket) return socket;
  if (socket.error().code != ECONNREFUSED && socket.error().code != ENOENT) return socket;
  UniqueFd listener = TRY(ipc::bind_unix(card.cable, SOCK_STREAM | SOCK_NONBLOCK));
  card.listens = true;
  if (::listen(listener.get(), 1) != 0) return ipc::system_failure(card.cable);
  answer.setListens();
  return listener;
}

Result<UniqueFd> Spawner::reach_passt(Card& card) {
  Slot& place = *TRY(slot(card.slot));
  if (!place) return ipc::failure(ECHILD, "passt has ended");
  const auto exit = TRY(place->exit_status());
  if (!exit) return card.socket->connect();
  const std::string words = card.socket->last_words();
  const bool said_why = exit->kind == sandbox::Exit::Kind::Exited && !words.empty();
  return ipc::failure(ECHILD, "passt: " + (said_why ? words : exit->describe()));
}

void Spawner::unplug(Card& card) {
  if (std::exchange(card.listens, false)) ::unlink(card.cable.c_str());
}

}  // namespace spawner
