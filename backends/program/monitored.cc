// How bulkhead-monitor starts it: one device for one front end, what they need is received over the control socket.
#include "backends/program/monitored.h"

#include <sys/socket.h>

#include <csignal>

#include "backends/program/operation.h"
#include "backends/serve/log.h"
#include "ipc/seal.h"
#include "sandbox/seal.h"

namespace program {
namespace {

using ipc::Result;
using serve::say;
using Kind = ipc::schema::Failure::Kind;

constexpr int kControlFd = 3;

Result<ipc::Frame> first_frame(ipc::ControlChannel& control) {
  auto frame = TRY(control.receive());
  if (!frame) return ipc::failure(EPIPE, "the monitor closed before it told what to serve");
  return std::move(*frame);
}

class Monitored {
 public:
  // Everything up to the front end: sealed.
  static Setup<std::unique_ptr<Monitored>> create(ipc::ControlChannel& control, const Accept& accept);
  // Serves until the front end or the monitor goes.
  Result<> serve();

 private:
  Monitored(ipc::ControlChannel& control, Assignment assignment, ipc::EventLoop events)
      : control_(control),
        operation_(std::move(assignment.product), limits::Limits()),
        front_end_(std::move(assignment.front_end)),
        told_(std::move(assignment.told)),
        operators_(std::move(assignment.operators)),
        events_(std::move(events)) {}
  Setup<void> set_up();
  Result<> watch();
  void listen();

  ipc::ControlChannel& control_;
  Operation operation_;
  ipc::UniqueFd front_end_;
  Told told_;
  ipc::UniqueFd operators_;
  ipc::EventLoop events_;
  std::unique_ptr<ipc::Operators> clients_;
  std::unique_ptr<serve::Server> server_;
  ipc::Seal seal_;
  bool goes_on_ = true;
};

Setup<std::unique_ptr<Monitored>> Monitored::create(ipc::ControlChannel& control, const Accept& accept) {
  auto frame = TRY(as(Kind::INTERNAL, first_frame(control)));
  Assignment assignment = TRY(accept(std::move(frame), control));
  auto events = TRY(as(Kind::HOST, ipc::EventLoop::create()));
  std::unique_ptr<Monitored> made(new Monitored(control, std::move(assignment), std::move(events)));
  TRY(made->set_up());
  return made;
}

Setup<void> Monitored::set_up() {
  // An error of the configuration is EINVAL; all else is the host's.
  auto made = operation_.make_device();
  const Kind kind = !made && made.error().code == EINVAL ? Kind::CONFIGURATION : Kind::HOST;
  auto device = TRY(as(kind, std::move(made)));
  server_ = TRY(as(Kind::HOST, serve::Server::create(std::move(device), virtio::Sealing::Required, events_.fd())));
  TRY(as(Kind::HOST, watch()));
  const auto protections = TRY(as(Kind::HOST, sandbox::lock_down()));
  seal_ = {sandbox::layer_bits(protections), protections.landlock_abi};
  sandbox::Slots slots;
  slots.set(sandbox::Slot::Events, events_.fd())
      .set(sandbox::Slot::ControlListener, operators_ ? operators_ : control_.socket());
  TRY(as(Kind::HOST, server_->seal(sandbox::Role::Monitored, slots)));
  operation_.begin(*server_, sandbox::layers(protections));
  return {};
}

Result<> Monitored::watch() {
  TRY(events_.watch(control_.socket(), [this] { listen(); }));
  if (operators_) clients_ = TRY(serve_operators(operators_, events_, operation_));
  server_->on_control([this] {
    const auto attended = events_.run_once(0);
    if (!attended) say(ipc::describe(attended.error()));
    return attended && goes_on_;
  });
  return {};
}

// The monitor says something, or has gone.
void Monitored::listen() {
  auto frame = control_.receive(false);
  if (!frame && frame.error().code == EAGAIN) return;
  goes_on_ = frame && *frame && told_;
  if (!goes_on_) return;
  const auto done = server_->reconfigure([&] { return told_(std::move(**frame)); });
  if (!done) say("the monitor: " + ipc::describe(done.error()));
  goes_on_ = done.has_value();
}

Result<> Monitored::serve() {
  capnp::MallocMessageBuilder message;
  seal_.tell(message.initRoot<ipc::schema::FromBackend>().initSealed());
  TRY(control_.send(message));
  operation_.connected(true);
  auto ended = TRY(server_->run(std::move(front_end_)));
  if (ended.broken) return std::unexpected(std::move(*ended.broken));
  return {};
}

void say_failed(ipc::ControlChannel& control, const SetupError& failure) {
  capnp::MallocMessageBuilder message;
  auto failed = message.initRoot<ipc::schema::FromBackend>().initFailed();
  failed.setKind(failure.kind);
  failed.setCode(failure.error.code);
  failed.setContext(failure.error.context);
  // If the monitor does not hear it, it still sees us exit.
  (void)control.send(message);
}

bool is_control_socket(const ipc::UniqueFd& fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

}  // namespace

int serve_monitor(const Accept& accept) {
  ipc::UniqueFd socket(kControlFd);
  if (!is_control_socket(socket)) {
    [[maybe_unused]] const int not_ours = socket.release();
    say(fmt::format("no option, and descriptor {} is no control socket of bulkhead-monitor; --help tells what is right",
                    kControlFd));
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond RLIMIT_FSIZE is an I/O error for the guest

  ipc::ControlChannel control(std::move(socket));
  auto service = Monitored::create(control, accept);
  if (!service) {
    say_failed(control, service.error());
    say(ipc::describe(service.error().error));
    return 1;
  }
  const auto served = (*service)->serve();
  if (served) return 0;
  say(ipc::describe(served.error()));
  return 1;
}

}  // namespace program
