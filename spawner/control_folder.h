// The folder in which a machine's sockets for operators are: `control` is the monitor's, the others are its back ends'.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace spawner {

class ControlFolder {
 public:
  // Makes `path` (mode 0700), and the folder around it if that is missing, with sockets that listen there
  // (SOCK_SEQPACKET, mode 0600, not blocking): `names`, the first of which is the machine's. A folder that a killed
  // monitor left is taken over, after a moment if its spawner still tidies up. EADDRINUSE if another machine is
  // controlled there; EACCES for a folder that others may look into.
  static ipc::Result<std::unique_ptr<ControlFolder>> make(const std::string& path, std::vector<std::string> names);
  ~ControlFolder();  // sockets and folder are gone
  ControlFolder(const ControlFolder&) = delete;
  ControlFolder& operator=(const ControlFolder&) = delete;

  std::span<const ipc::UniqueFd> sockets() const { return sockets_; }  // of the names

 private:
  explicit ControlFolder(std::string path) : path_(std::move(path)) {}
  ipc::Result<> listen(const std::string& name);

  const std::string path_;
  std::vector<std::string> names_;
  std::vector<ipc::UniqueFd> sockets_;
};

}  // namespace spawner
