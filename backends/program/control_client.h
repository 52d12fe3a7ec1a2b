// The operator's side of a back end's control socket.
#pragma once

#include <functional>
#include <string>

#include "backends/program/control_server.h"

namespace program {

class ControlClient {
 public:
  // Errors tell `path`: those of connect(2), ENAMETOOLONG.
  static ipc::Result<ControlClient> connect(const std::string& path);

  // Readable when the back end has gone.
  const ipc::UniqueFd& socket() const { return channel_.socket(); }

  // Sends what `fill` makes, and has `read` read the answer and its descriptors (at most 5 s later). What the back
  // end refuses is an error. `read` runs guarded.
  using Fill = std::function<void(ipc::schema::ControlRequest::Builder)>;
  using Read = std::function<ipc::Result<>(ipc::schema::ControlAnswer::Reader, std::vector<ipc::UniqueFd>&)>;
  ipc::Result<> ask(const Fill& fill, const Read& read);

 private:
  ControlClient(std::string path, ipc::ControlChannel channel) : path_(std::move(path)), channel_(std::move(channel)) {}
  std::string path_;
  ipc::ControlChannel channel_;
};

// What a back end said, fit for a terminal: printable, at most 1 KiB.
std::string printable(capnp::Text::Reader text);

}  // namespace program
