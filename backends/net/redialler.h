// Connects a standalone card to a path again: a sealed process reaches no path any more.
#pragma once

#include <string>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace net {

// A process of its own that can do nothing but connect to one path, with our caller's rights. It ends with us.
class Redialler {
 public:
  // Before any thread is started and any signal handled. Errors: ENAMETOOLONG, and those of program::start_helper().
  static ipc::Result<Redialler> start(const std::string& path);

  // What to wait for; it is readable when there is a connection, or the helper has gone.
  const ipc::UniqueFd& line() const { return line_; }
  // Asks for a connection: it is tried for each second, until somebody listens there.
  void ask() const;
  // When `line` is readable. EPIPE: the helper has gone.
  ipc::Result<ipc::UniqueFd> connection() const;

 private:
  explicit Redialler(ipc::UniqueFd line) : line_(std::move(line)) {}
  ipc::UniqueFd line_;
};

}  // namespace net
