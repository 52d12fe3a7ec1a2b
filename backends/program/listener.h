// Where front ends connect, one after the other, and where operators do.
#pragma once

#include <optional>
#include <string>

#include "backends/program/socket_keeper.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace program {

enum class Purpose : std::uint8_t {
  FrontEnd,  // vhost-user: a stream
  Control,   // whole frames; our own uid and root alone may connect
};

class Listener {
 public:
  // Binds `path`, in place of a socket on which nobody listens any more. EADDRINUSE if somebody does,
  // EEXIST for what is no socket, ENAMETOOLONG; others of bind(2).
  static ipc::Result<Listener> bind(const std::string& path, Purpose purpose);
  // Takes over a stream socket: one that listens, or one that is the connection itself. ENOTSOCK, EINVAL.
  static ipc::Result<Listener> adopt(ipc::UniqueFd socket);

  const ipc::UniqueFd& socket() const { return socket_; }
  // How many sockets systemd has passed to this process, from descriptor 3 on (sd_listen_fds(3)).
  static int passed_by_systemd();

  // There will be another connection after this one.
  bool listens() const { return listens_; }

  // The next connection, if one is there. Never blocks.
  ipc::Result<std::optional<ipc::UniqueFd>> accept();

  // Takes a path that bind() made out of the world.
  void remove_path();

 private:
  Listener(ipc::UniqueFd socket, bool listens) : socket_(std::move(socket)), listens_(listens) {}
  ipc::UniqueFd socket_;  // empty once a connection of adopt() was handed out
  bool listens_;
  std::optional<SocketKeeper> keeper_;
};

}  // namespace program
