// Unix sockets by their paths.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

// ENAMETOOLONG, with the path, for one that is longer than the system's addresses.
Result<sockaddr_un> unix_address(const std::string& path);

inline const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// A new socket of `type` (SOCK_STREAM, and flags) that is connected to who listens at `path`. Errors name the path.
Result<UniqueFd> connect_unix(const std::string& path, int type);

// A new socket of `type` that is bound to `path`, and does not listen yet, in place of one on which nobody listens any
// more. `mode` is the path's from the first moment. EADDRINUSE if somebody listens there, EEXIST for what is no socket.
// Errors name the path.
Result<UniqueFd> bind_unix(const std::string& path, int type, mode_t mode = 0777);

// Two connected stream sockets.
struct StreamPair {
  UniqueFd ours, theirs;
  static Result<StreamPair> make();
};

}  // namespace ipc
