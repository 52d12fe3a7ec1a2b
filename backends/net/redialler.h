// Connects a standalone card's stream again: a sealed process reaches no path any more.
#pragma once

#include <memory>
#include <string>

#include "backends/net/link.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace net {

// A process of its own that can do nothing but connect to one path, with our caller's rights. It ends with us.
class Redialler {
 public:
  // `headers`: as for make_stream_link(). Before any thread is started and any signal handled. Errors: ENAMETOOLONG,
  // and those of program::start_helper().
  static ipc::Result<Redialler> start(const std::string& path, bool headers);

  // What to wait for; it is readable when there is a link, or the helper has gone.
  const ipc::UniqueFd& line() const { return line_; }
  // Asks for a link: it is tried for each second, until somebody listens there.
  void ask() const;
  // When `line` is readable. EPIPE: the helper has gone.
  ipc::Result<std::unique_ptr<Link>> link() const;

 private:
  Redialler(ipc::UniqueFd line, bool headers) : line_(std::move(line)), headers_(headers) {}
  ipc::UniqueFd line_;
  bool headers_;
};

}  // namespace net
