// bulkhead-blk: serves one disk to one vhost-user front end, sealed off from everything else.
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <string_view>

#include "backends/blk/server.h"
#include "ipc/schema/control.capnp.h"
#include "sandbox/policy/blk.h"
#include "sandbox/seal.h"

namespace {

using ipc::Result;
using Kind = ipc::schema::Failure::Kind;

constexpr int kControlFd = 3;

constexpr std::string_view kHelp =
    "bulkhead-blk: a virtio block device as a process of its own (vhost-user back end).\n"
    "\n"
    "bulkhead-monitor starts it with a control socket as descriptor 3 and sends it a disk image and a\n"
    "vhost-user connection. It opens nothing itself.\n"
    "\n"
    "  --help     this text\n"
    "  --version  the version\n";

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

Result<> seal(const blk::Server& server) {
  TRY(sandbox::lock_down());
  return sandbox::enter_filter(sandbox::kBlkPolicy, sandbox::Slots().set(sandbox::Slot::Ring, server.ring()));
}

Setup<std::unique_ptr<blk::Server>> set_up(ipc::ControlChannel& control) {
  Assignment assignment = TRY(as(Kind::INTERNAL, receive_assignment(control)));
  auto storage = TRY(as(Kind::CONFIGURATION, blk::Storage::adopt(std::move(assignment.image), assignment.writes)));
  auto engine = TRY(as(Kind::HOST, blk::Engine::create()));
  auto server =
      TRY(as(Kind::CONFIGURATION, blk::Server::create(std::move(engine), std::move(storage), assignment.options,
                                                      std::move(assignment.front_end), control.socket())));
  TRY(as(Kind::HOST, seal(*server)));
  return server;
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

int serve() {
  ipc::UniqueFd socket(kControlFd);
  if (!is_control_socket(socket)) {
    [[maybe_unused]] const int not_ours = socket.release();
    fmt::print(stderr, "bulkhead-blk: descriptor {} is no control socket: it is started by bulkhead-monitor\n",
               kControlFd);
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a write beyond RLIMIT_FSIZE is an I/O error for the guest

  ipc::ControlChannel control(std::move(socket));
  auto server = set_up(control);
  if (!server) {
    say_failed(control, server.error());
    fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(server.error().error));
    return 1;
  }
  auto served = say_sealed(control);
  if (served) served = (*server)->run();
  if (served) return 0;
  fmt::print(stderr, "bulkhead-blk: {}\n", ipc::describe(served.error()));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) return serve();
  const std::string_view option = argv[1];
  if (argc == 2 && option == "--help") {
    fmt::print("{}", kHelp);
    return 0;
  }
  if (argc == 2 && option == "--version") {
    fmt::print("bulkhead-blk {}\n", BULKHEAD_VERSION);
    return 0;
  }
  fmt::print(stderr, "bulkhead-blk: unknown option {}; --help tells what it is\n", option);
  return 2;
}
