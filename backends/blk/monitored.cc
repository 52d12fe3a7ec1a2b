// How bulkhead-monitor starts it: a disk for one front end, both received over the control socket.
#include "backends/blk/monitored.h"

#include <sys/socket.h>

#include <csignal>
#include <cstdio>

#include "backends/blk/server.h"
#include "ipc/control_channel.h"
#include "ipc/schema/control.capnp.h"
#include "sandbox/policy/blk.h"
#include "sandbox/seal.h"

namespace {

using ipc::Result;
using Kind = ipc::schema::Failure::Kind;

constexpr int kControlFd = 3;

// What goes to the monitor when the device cannot be served.
struct SetupError {
  Kind kind;
  ipc::Error error;
};
template <class T>
using Setup = std::expected<T, SetupError>;

template <class T>
Setup<T> as(Kind kind, Result<T> result) {
  if (!result) return std::unexpected(SetupError{kind, std::move(result).error()});
  if constexpr (std::is_void_v<T>)
    return {};
  else
    return std::move(result).value();
}

struct Assignment {
  blk::Writes writes;
  blk::Options options;
  ipc::UniqueFd image;
  ipc::UniqueFd front_end;
};

Result<Assignment> receive_assignment(ipc::ControlChannel& control) {
  auto frame = TRY(control.receive());
  if (!frame) return ipc::failure(EPIPE, "the monitor closed before it told what to serve");
  return ipc::guarded([&]() -> Result<Assignment> {
    const auto message = frame->root<ipc::schema::ToBackend>();
    if (!message.hasBlock()) return ipc::failure(EPROTO, "the monitor asked for a device that is not a disk");
    if (frame->fds.size() != 2)
      return ipc::failure(EPROTO, fmt::format("{} descriptors came with the disk, 2 are right", frame->fds.size()));
    const auto block = message.getBlock();
    return Assignment{
        .writes = block.getReadonly() ? blk::Writes::Refused : blk::Writes::Allowed,
        .options = {.serial = block.getSerial().cStr(), .queues = block.getQueues()},
        .image = std::move(frame->fds[0]),
        .front_end = std::move(frame->fds[1]),
    };
  });
}

Result<> seal(blk::Server& server) {
  TRY(sandbox::lock_down());
  return server.seal(sandbox::BlkRole::Monitored, sandbox::Slots());
}

struct Service {
  std::unique_ptr<blk::Server> server;
  ipc::UniqueFd front_end;
};

Setup<Service> set_up(ipc::ControlChannel& control) {
  Assignment assignment = TRY(as(Kind::INTERNAL, receive_assignment(control)));
  auto storage = TRY(as(Kind::CONFIGURATION, blk::Storage::adopt(std::move(assignment.image), assignment.writes)));
  // An error of the configuration is EINVAL; all else is the host's.
  auto made = blk::Server::create(std::move(storage), assignment.options, control.socket());
  const Kind kind = !made && made.error().code == EINVAL ? Kind::CONFIGURATION : Kind::HOST;
  auto server = TRY(as(kind, std::move(made)));
  TRY(as(Kind::HOST, seal(*server)));
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

namespace blk {

int serve_monitor() {
  ipc::UniqueFd socket(kControlFd);
  if (!is_control_socket(socket)) {
    [[maybe_unused]] const int not_ours = socket.release();
    fmt::print(stderr,
               "bulkhead-blk: no option, and descriptor {} is no control socket of bulkhead-monitor; --help tells "
               "what is right\n",
               kControlFd);
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond RLIMIT_FSIZE is an I/O error for the guest

  ipc::ControlChannel control(std::move(socket));
  auto service = set_up(control);
  if (!service) {
    say_failed(control, service.error());
    fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(service.error().error));
    return 1;
  }
  const auto served = serve(control, std::move(*service));
  if (served) return 0;
  fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(served.error()));
  return 1;
}

}  // namespace blk
