// Descriptors beside bytes on a Unix socket (unix(7), SCM_RIGHTS): the one place that builds control messages.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

// The kernel's own limit for one message (SCM_MAX_FD).
inline constexpr std::size_t kMaxPassedFds = 253;

// One sendmsg(2) of all of `bytes` with `fds`, which stay the caller's. Never blocks where `flags` has
// MSG_DONTWAIT (EAGAIN then), never raises SIGPIPE. The number of bytes sent.
Result<std::size_t> send_with_fds(const UniqueFd& socket, std::span<const std::byte> bytes, std::span<const int> fds,
                                  int flags);

struct Received {
  std::size_t bytes = 0;      // 0: the peer has closed
  std::vector<UniqueFd> fds;  // close-on-exec
};

// One recvmsg(2). Errors: those of recvmsg; EMSGSIZE when bytes or descriptors did not fit, in which
// case every descriptor that did arrive has been closed.
Result<Received> receive_with_fds(const UniqueFd& socket, std::span<std::byte> bytes, std::size_t max_fds, int flags);

}  // namespace ipc
