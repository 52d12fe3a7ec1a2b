// Removes the listening socket's path at the end: a sealed process reaches no path any more.
#pragma once

#include <string>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace program {

// A process of its own that can do nothing but remove one name from one directory. It ends with us;
// where we are killed it removes nothing, as a successor may be listening there already.
class SocketKeeper {
 public:
  // Before any thread is started and any signal handled. `path` is bound. Errors: those of open(2) and start_helper().
  static ipc::Result<SocketKeeper> start(const std::string& path);

  // Has the path removed, if it still is the socket that it was, and returns when that is done.
  void remove();

 private:
  explicit SocketKeeper(ipc::UniqueFd line) : line_(std::move(line)) {}
  ipc::UniqueFd line_;
};

}  // namespace program
