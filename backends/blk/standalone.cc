#include "backends/blk/standalone.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <array>
#include <csignal>
#include <cstdio>

#include "backends/blk/control_server.h"
#include "backends/blk/isolation.h"
#include "backends/blk/listener.h"
#include "backends/blk/server.h"
#include "ipc/clock.h"
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

class Standalone final : private Controlled {
 public:
  // Everything up to the first front end: sealed.
  static Result<std::unique_ptr<Standalone>> create(const CommandLine& command);
  ~Standalone() override { remove_paths(); }
  Result<> serve();

 private:
  Standalone(const CommandLine& command, ipc::EventLoop events, UniqueFd signals, Listener listener,
             std::optional<Listener> operators)
      : command_(command),
        limits_(command.limits),
        limiter_(command.limits, ipc::monotonic_ns()),
        events_(std::move(events)),
        signals_(std::move(signals)),
        listener_(std::move(listener)),
        operators_(std::move(operators)) {}
  Result<> seal(Storage storage);
  void remove_paths();
  // Does what signals and operators ask for. False: to end.
  bool attend();
  void obey_signals();
  // Nothing: a signal asks to end.
  Result<std::optional<UniqueFd>> next_connection();

  const UniqueFd& telemetry() const override { return telemetry_->file(); }
  void describe(ipc::schema::BackendStatus::Builder status) const override;
  limits::Limits limits() const override { return limits_; }
  void set_limits(const limits::Limits& limits) override;
  Result<> grow() override;

  const CommandLine& command_;
  const std::uint64_t started_ns_ = ipc::monotonic_ns();
  limits::Limits limits_;
  limits::Limiter limiter_;
  std::optional<telemetry::Segment> telemetry_;
  ipc::EventLoop events_;
  UniqueFd signals_;
  Listener listener_;
  std::optional<Listener> operators_;
  std::unique_ptr<ControlServer> control_;
  std::vector<sandbox::Layer> layers_;
  std::unique_ptr<Server> server_;
  std::uint64_t connections_ = 0;
  bool connected_ = false;
  bool end_asked_ = false;
};

Result<std::unique_ptr<Standalone>> Standalone::create(const CommandLine& command) {
  Storage storage = TRY(open_storage(command));
  UniqueFd signals = TRY(gather_signals());
  auto events = TRY(ipc::EventLoop::create());
  std::optional<Listener> operators;
  if (!command.control_path.empty()) operators = TRY(Listener::bind(command.control_path, Purpose::Control));
  auto listener = command.socket_path.empty() ? Listener::adopt(UniqueFd(command.socket))
                                              : Listener::bind(command.socket_path, Purpose::FrontEnd);
  if (!listener) {
    if (operators) operators->remove_path();
    return std::unexpected(std::move(listener).error());
  }
  std::unique_ptr<Standalone> made(
      new Standalone(command, std::move(events), std::move(signals), std::move(*listener), std::move(operators)));
  TRY(made->seal(std::move(storage)));
  return made;
}

Result<> Standalone::seal(Storage storage) {
  Options options = command_.options;
  options.limiter = &limiter_;
  if (storage.kind() != Storage::Kind::Null) TRY(limit_file_size(storage.sectors() * kSectorBytes));
  layers_ = TRY(isolate(command_.sandbox));
  if (operators_) control_ = TRY(ControlServer::create(*operators_, events_, *this));
  telemetry_ = TRY(telemetry::Segment::create(kOperationNames, options.queues));
  options.telemetry = &*telemetry_;
  TRY(events_.watch(signals_, [this] { obey_signals(); }));
  server_ = TRY(Server::create(std::move(storage), options, events_.fd()));
  server_->on_control([this] { return attend(); });
  sandbox::Slots slots;
  slots.set(sandbox::Slot::Listener, listener_.socket())
      .set(sandbox::Slot::Events, events_.fd())
      .set(sandbox::Slot::ControlListener, (operators_ ? *operators_ : listener_).socket());
  TRY(server_->seal(sandbox::BlkRole::Standalone, slots));
  fmt::print(stderr, "bulkhead-blk: serving {}, {} sectors, by {}; in force: {}; not in force: {}\n", command_.image,
             server_->sectors(), server_->describe(), list_layers(layers_, true), list_layers(layers_, false));
  return {};
}

Result<> Standalone::grow() {
  TRY(server_->grow());
  return command_.null_bytes ? Result<>() : limit_file_size(server_->sectors() * kSectorBytes);
}

void Standalone::remove_paths() {
  listener_.remove_path();
  if (operators_) operators_->remove_path();
}

bool Standalone::attend() {
  const auto attended = events_.run_once(0);
  if (!attended) fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(attended.error()));
  return attended && !end_asked_;
}

void Standalone::obey_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGHUP) {
      end_asked_ = true;
      return;
    }
    const auto grown = grow();
    if (!grown) fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(grown.error()));
  }
}

void Standalone::describe(ipc::schema::BackendStatus::Builder status) const {
  status.setVersion(BULKHEAD_VERSION);
  status.setUptimeMs((ipc::monotonic_ns() - started_ns_) / 1'000'000);
  status.setHow(server_->describe());
  status.setSectors(server_->sectors());
  status.setReadOnly(command_.read_only);
  status.setConnected(connected_);
  status.setConnections(connections_);
  status.setInForce(list_layers(layers_, true));
  status.setNotInForce(list_layers(layers_, false));
}

void Standalone::set_limits(const limits::Limits& limits) {
  limits_ = limits;
  limiter_.set(limits, ipc::monotonic_ns());
}

Result<std::optional<UniqueFd>> Standalone::next_connection() {
  while (true) {
    auto connection = TRY(listener_.accept());
    if (connection) return connection;
    std::array<pollfd, 2> waits{{{events_.fd().get(), POLLIN, 0}, {listener_.socket().get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR)
      return ipc::system_failure("wait for a front end");
    if (waits[0].revents != 0 && !attend()) return std::optional<UniqueFd>();
  }
}

Result<> Standalone::serve() {
  do {
    auto connection = TRY(next_connection());
    if (!connection) return {};
    ++connections_;
    connected_ = true;
    auto ended = TRY(server_->run(std::move(*connection)));
    connected_ = false;
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
  auto standalone = Standalone::create(command);
  const Result<> served = standalone ? (*standalone)->serve() : std::unexpected(standalone.error());
  if (standalone) standalone->reset();
  if (served) return 0;
  fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(served.error()));
  return 1;
}

}  // namespace blk
