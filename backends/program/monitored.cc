// How bulkhead-monitor starts it: one device for one front end, what they need is received over the control socket.
#include "backends/program/monitored.h"

#include <sys/socket.h>

#include <csignal>

#include "backends/serve/log.h"
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

struct Service {
  std::unique_ptr<serve::Server> server;
  ipc::UniqueFd front_end;
};

// The monitor says something, or has gone.
bool listen(serve::Server& server, ipc::ControlChannel& control, const Told& told) {
  auto frame = control.receive(false);
  if (!frame) return frame.error().code == EAGAIN;
  if (!*frame || !told) return false;
  const auto done = server.reconfigure([&] { return told(std::move(**frame)); });
  if (!done) say("the monitor: " + ipc::describe(done.error()));
  return done.has_value();
}

Setup<Service> set_up(ipc::ControlChannel& control, const Accept& accept) {
  auto frame = TRY(as(Kind::INTERNAL, first_frame(control)));
  Assignment assignment = TRY(accept(std::move(frame), control));
  auto server = TRY(
      as(Kind::HOST, serve::Server::create(std::move(assignment.device), virtio::Sealing::Required, control.socket())));
  TRY(as(Kind::HOST, sandbox::lock_down()));
  TRY(as(Kind::HOST, server->seal(sandbox::Role::Monitored, sandbox::Slots())));
  server->on_control(
      [&control, told = std::move(assignment.told), server = server.get()] { return listen(*server, control, told); });
  return Service{std::move(server), std::move(assignment.front_end)};
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

Result<> say_sealed(ipc::ControlChannel& control) {
  capnp::MallocMessageBuilder message;
  message.initRoot<ipc::schema::FromBackend>().setSealed();
  return control.send(message);
}

bool is_control_socket(const ipc::UniqueFd& fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

// Serves until the front end or the monitor goes.
Result<> serve(ipc::ControlChannel& control, Service service) {
  TRY(say_sealed(control));
  auto ended = TRY(service.server->run(std::move(service.front_end)));
  if (ended.broken) return std::unexpected(std::move(*ended.broken));
  return {};
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
  auto service = set_up(control, accept);
  if (!service) {
    say_failed(control, service.error());
    say(ipc::describe(service.error().error));
    return 1;
  }
  const auto served = serve(control, std::move(*service));
  if (served) return 0;
  say(ipc::describe(served.error()));
  return 1;
}

}  // namespace program
