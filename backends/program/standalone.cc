#include "backends/program/standalone.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <array>
#include <csignal>

#include "backends/program/isolation.h"
#include "backends/program/listener.h"
#include "backends/program/operation.h"
#include "backends/serve/log.h"
#include "backends/serve/server.h"

namespace program {
namespace {

using ipc::Result;
using ipc::UniqueFd;
using serve::say;

// SIGTERM and SIGINT ask to end, SIGHUP to look anew at what is served. Blocked, they wait in a descriptor.
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

class Standalone final {
 public:
  // Everything up to the first front end: sealed.
  static Result<std::unique_ptr<Standalone>> create(const Common& common, const Open& open);
  ~Standalone() { remove_paths(); }
  Result<> serve();

 private:
  Standalone(const Common& common, std::unique_ptr<Product> product, ipc::EventLoop events, UniqueFd signals,
             Listener listener, std::optional<Listener> operators)
      : common_(common),
        operation_(std::move(product), common.limits),
        events_(std::move(events)),
        signals_(std::move(signals)),
        listener_(std::move(listener)),
        operators_(std::move(operators)) {}
  Result<> seal();
  void remove_paths();
  // Does what signals and operators ask for. False: to end.
  bool attend();
  void obey_signals();
  // Nothing: a signal asks to end.
  Result<std::optional<UniqueFd>> next_connection();

  const Common& common_;
  Operation operation_;
  ipc::EventLoop events_;
  UniqueFd signals_;
  Listener listener_;
  std::optional<Listener> operators_;
  std::unique_ptr<ipc::Operators> control_;
  std::unique_ptr<serve::Server> server_;
  bool end_asked_ = false;
};

Result<std::unique_ptr<Standalone>> Standalone::create(const Common& common, const Open& open) {
  auto product = TRY(open());
  UniqueFd signals = TRY(gather_signals());
  auto events = TRY(ipc::EventLoop::create());
  std::optional<Listener> operators;
  if (!common.control_path.empty()) operators = TRY(Listener::bind(common.control_path, Purpose::Control));
  auto listener = common.socket_path.empty() ? Listener::adopt(UniqueFd(common.socket))
                                             : Listener::bind(common.socket_path, Purpose::FrontEnd);
  if (!listener) {
    if (operators) operators->remove_path();
    return std::unexpected(std::move(listener).error());
  }
  std::unique_ptr<Standalone> made(new Standalone(common, std::move(product), std::move(events), std::move(signals),
                                                  std::move(*listener), std::move(operators)));
  TRY(made->seal());
  return made;
}

Result<> Standalone::seal() {
  auto layers = TRY(isolate(common_.sandbox));
  if (operators_) control_ = TRY(serve_operators(operators_->socket(), events_, operation_));
  TRY(events_.watch(signals_, [this] { obey_signals(); }));
  TRY(operation_.watch(events_));
  auto device = TRY(operation_.make_device());
  server_ = TRY(serve::Server::create(std::move(device), common_.sealing, events_.fd()));
  server_->on_control([this] { return attend(); });
  sandbox::Slots slots;
  slots.set(sandbox::Slot::Listener, listener_.socket())
      .set(sandbox::Slot::Events, events_.fd())
      .set(sandbox::Slot::ControlListener, (operators_ ? *operators_ : listener_).socket());
  TRY(server_->seal(sandbox::Role::Standalone, slots));
  say(fmt::format("serving {}, by {}; in force: {}; not in force: {}", operation_.describe(), server_->describe(),
                  list_layers(layers, true), list_layers(layers, false)));
  operation_.begin(*server_, std::move(layers));
  return {};
}

void Standalone::remove_paths() {
  listener_.remove_path();
  if (operators_) operators_->remove_path();
}

bool Standalone::attend() {
  const auto attended = events_.run_once(0);
  if (!attended) say(ipc::describe(attended.error()));
  return attended && !end_asked_;
}

void Standalone::obey_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGHUP) {
      end_asked_ = true;
      return;
    }
    const auto refreshed = operation_.refresh();
    if (!refreshed) say(ipc::describe(refreshed.error()));
  }
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
    operation_.connected(true);
    auto ended = TRY(server_->run(std::move(*connection)));
    operation_.connected(false);
    if (ended.broken && !listener_.listens()) return std::unexpected(std::move(*ended.broken));
    if (ended.broken) say("connection closed: " + ipc::describe(*ended.broken));
    if (ended.asked) return {};
  } while (listener_.listens());
  return {};
}

}  // namespace

int serve_standalone(const Common& common, const Open& open) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // beyond RLIMIT_FSIZE, if our caller set one: an I/O error for the guest
  auto standalone = Standalone::create(common, open);
  const Result<> served = standalone ? (*standalone)->serve() : std::unexpected(standalone.error());
  if (standalone) standalone->reset();
  if (served) return 0;
  say(ipc::describe(served.error()));
  return 1;
}

}  // namespace program
