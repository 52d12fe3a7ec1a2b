#include "backends/blk/standalone.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <array>
#include <csignal>
#include <cstdio>

#include "backends/blk/isolation.h"
#include "backends/blk/listener.h"
#include "backends/blk/server.h"
#include "sandbox/policy/blk.h"

namespace blk {
namespace {

using ipc::Result;
using ipc::UniqueFd;

Result<Storage> open_storage(const CommandLine& command) {
  const Writes writes = command.read_only ? Writes::Refused : Writes::Allowed;
  if (command.null_bytes) return Storage::null(*command.null_bytes, writes);
  const int mode = (command.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  UniqueFd image(::open(command.image.c_str(), mode));
  if (!image) return ipc::system_failure(command.image);
  auto opened = [&]() -> Result<Storage> {
    Storage storage = TRY(Storage::adopt(std::move(image), writes));
    if (command.options.lock == Lock::Always) TRY(storage.lock(kLockPatience));
    if (command.cache == Cache::Writeback) return storage;
    UniqueFd direct(::open(command.image.c_str(), mode | O_DIRECT));
    Result<> went = direct ? storage.go_direct(std::move(direct)) : ipc::system_failure("--cache=direct");
    if (!went && command.cache == Cache::Direct) return std::unexpected(std::move(went).error());
    return storage;
  }();
  if (!opened) opened.error().context = fmt::format("{}: {}", command.image, opened.error().context);
  return opened;
}

// SIGTERM and SIGINT ask to end, SIGHUP to look at the image's size. Blocked, they wait in a descriptor.
Result<UniqueFd> gather_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGHUP);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return ipc::system_failure("sigprocmask");
  UniqueFd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return ipc::system_failure("signalfd");
  return signals;
}

class Standalone {
 public:
  static Result<Standalone> set_up(const CommandLine& command);
  Result<> serve();
  void clean_up() { listener_.remove_path(); }

 private:
  Standalone(UniqueFd signals, Listener listener, std::unique_ptr<Server> server)
      : signals_(std::move(signals)), listener_(std::move(listener)), server_(std::move(server)) {}
  // Does what signals ask for. False: to end.
  bool obey_signals();
  // Nothing: a signal asks to end.
  Result<std::optional<UniqueFd>> next_connection();

  UniqueFd signals_;
  Listener listener_;
  std::unique_ptr<Server> server_;
};

Result<Standalone> Standalone::set_up(const CommandLine& command) {
  Storage storage = TRY(open_storage(command));
  UniqueFd signals = TRY(gather_signals());
  Listener listener = TRY(command.socket_path.empty() ? Listener::adopt(UniqueFd(command.socket))
                                                      : Listener::bind(command.socket_path));
  const std::uint64_t sectors = storage.sectors();
  auto made = [&]() -> Result<std::unique_ptr<Server>> {
    const auto layers = TRY(isolate());
    auto server = TRY(Server::create(std::move(storage), command.options, signals));
    TRY(server->seal(sandbox::BlkRole::Standalone, sandbox::Slots().set(sandbox::Slot::Listener, listener.socket())));
    fmt::print(stderr, "bulkhead-blk: serving {}, {} sectors, by {}; in force: {}; not in force: {}\n", command.image,
               sectors, server->describe(), list_layers(layers, true), list_layers(layers, false));
    return server;
  }();
  if (!made) {
    listener.remove_path();
    return std::unexpected(std::move(made).error());
  }
  return Standalone(std::move(signals), std::move(listener), std::move(*made));
}

bool Standalone::obey_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGHUP) return false;
    const auto grown = server_->grow();
    if (!grown) fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(grown.error()));
  }
  return true;
}

Result<std::optional<UniqueFd>> Standalone::next_connection() {
  while (true) {
    auto connection = TRY(listener_.accept());
    if (connection) return connection;
    std::array<pollfd, 2> waits{{{signals_.get(), POLLIN, 0}, {listener_.socket().get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR)
      return ipc::system_failure("wait for a front end");
    if (waits[0].revents != 0 && !obey_signals()) return std::optional<UniqueFd>();
  }
}

Result<> Standalone::serve() {
  server_->on_control([this] { return obey_signals(); });
  do {
    auto connection = TRY(next_connection());
    if (!connection) return {};
    auto ended = TRY(server_->run(std::move(*connection)));
    if (ended.broken && !listener_.listens()) return std::unexpected(std::move(*ended.broken));
    if (ended.broken) fmt::print(stderr, "bulkhead-blk: connection closed: {}\n", ipc::describe(*ended.broken));
    if (ended.asked) return {};
  } while (listener_.listens());
  return {};
}

}  // namespace

int serve_standalone(const CommandLine& command) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // beyond RLIMIT_FSIZE, if our caller set one: an I/O error for the guest
  auto standalone = Standalone::set_up(command);
  Result<> served = standalone ? standalone->serve() : std::unexpected(standalone.error());
  if (standalone) standalone->clean_up();
  if (served) return 0;
  fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(served.error()));
  return 1;
}

}  // namespace blk
