// A process of its own for one thing that a sealed process cannot do any more.
#pragma once

#include <functional>
#include <string>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "sandbox/seccomp.h"

namespace program {

struct Helper {
  std::string what;                     // for errors: "the keeper of the socket's path"
  const ipc::UniqueFd* kept = nullptr;  // stays open there, beside its end of the line; none: nothing else does
  sandbox::Policy policy;               // has to allow write(2) to the line, and exit_group(2)
  sandbox::Slots slots;
  // What it does, sealed; then it ends. The other end of `line` closes when we end, however that comes.
  std::function<void(const ipc::UniqueFd& line)> work;
};

// Our end of the line. Before any thread is started and any signal handled. When it returns the helper is sealed, and
// holds no copy of our other descriptors any more. Errors: those of socketpair(2), fork(2); EPERM if it cannot be
// sealed.
ipc::Result<ipc::UniqueFd> start_helper(const Helper& helper);

}  // namespace program
