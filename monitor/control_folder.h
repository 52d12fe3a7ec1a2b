// The folder in which a machine's sockets for operators are: `control` is the monitor's, the others are its back ends'.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace monitor {

class ControlFolder {
 public:
  // Makes `path` (mode 0700), and the folder around it if that is missing. One that a killed monitor left is taken
  // over. EADDRINUSE if a machine is controlled there; EACCES for a folder that others may look into.
  static ipc::Result<std::unique_ptr<ControlFolder>> make(const std::string& path);
  ~ControlFolder();  // sockets and folder are gone
  ControlFolder(const ControlFolder&) = delete;
  ControlFolder& operator=(const ControlFolder&) = delete;

  // A socket that listens there (SOCK_SEQPACKET, mode 0600), and does not block.
  ipc::Result<ipc::UniqueFd> listen(const std::string& name);

 private:
  explicit ControlFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
  std::vector<std::string> names_;
};

}  // namespace monitor
