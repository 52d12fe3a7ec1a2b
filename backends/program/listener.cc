#include "backends/program/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "ipc/unix_socket.h"

namespace program {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr int kWaiting = 8;  // connections that may wait for their turn

Result<int> option(const UniqueFd& socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) != 0)
    return ipc::system_failure(fmt::format("--fd={}", socket.get()));
  return value;
}

}  // namespace

Result<Listener> Listener::bind(const std::string& path, Purpose purpose) {
  const bool control = purpose == Purpose::Control;
  Listener listener(TRY(ipc::bind_unix(path, (control ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK,
                                       control ? S_IRUSR | S_IWUSR : S_IRWXU | S_IRWXG | S_IRWXO)),
                    true);
  auto listening = [&]() -> Result<> {
    // Before anybody can connect: a keeper that is just being started still has a copy of the socket.
    listener.keeper_ = TRY(SocketKeeper::start(path));
    if (::listen(listener.socket_.get(), kWaiting) != 0) return ipc::system_failure(fmt::format("listen on {}", path));
    return {};
  }();
  if (listening) return listener;
  ::unlink(path.c_str());
  return std::unexpected(std::move(listening).error());
}

Result<Listener> Listener::adopt(UniqueFd socket) {
  if (TRY(option(socket, SO_TYPE)) != SOCK_STREAM)
    return ipc::failure(EINVAL, fmt::format("--fd={}: a stream socket is right", socket.get()));
  const bool listens = TRY(option(socket, SO_ACCEPTCONN)) != 0;
  if (listens && ::fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) return ipc::system_failure("--fd");
  return Listener(std::move(socket), listens);
}

int Listener::passed_by_systemd() {
  const auto number = [](const char* name) {
    const char* const text = std::getenv(name);
    int value = 0;
    if (text != nullptr) std::from_chars(text, text + std::string_view(text).size(), value);
    return value;
  };
  return number("LISTEN_PID") == ::getpid() ? number("LISTEN_FDS") : 0;
}

Result<std::optional<UniqueFd>> Listener::accept() {
  if (!listens_) return std::optional(std::move(socket_));
  UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection) return std::optional(std::move(connection));
  // A front end that went before its turn, and want of a descriptor or memory, pass.
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR || errno == EMFILE || errno == ENFILE ||
      errno == ENOMEM || errno == ENOBUFS)
    return std::optional<UniqueFd>();
  return ipc::system_failure("accept a front end");
}

void Listener::remove_path() {
  if (keeper_) keeper_->remove();
}

}  // namespace program
