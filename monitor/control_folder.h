// The folder in which a machine's sockets for operators are: `control` is the monitor's, the others are its back ends'.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace monitor {

class ControlFolder {
 public:
  // Makes `path` (mode 0700), and the folder around it if that is missing, with sockets that listen there
  // (SOCK_SEQPACKET, mode 0600, not blocking) for the monitor and for each of so many disks and cards. A folder that a
  // killed monitor left is taken over. EADDRINUSE if another machine is controlled there; EACCES for a folder that
  // others may look into.
  static ipc::Result<std::unique_ptr<ControlFolder>> make(const std::string& path, std::size_t disks,
                                                          std::size_t cards);
  ~ControlFolder();  // sockets and folder are gone
  ControlFolder(const ControlFolder&) = delete;
  ControlFolder& operator=(const ControlFolder&) = delete;

  const ipc::UniqueFd& monitor() const { return sockets_.front(); }
  std::span<const ipc::UniqueFd> devices() const { return std::span(sockets_).subspan(1); }  // disks, then cards

 private:
  explicit ControlFolder(std::string path) : path_(std::move(path)) {}
  ipc::Result<> listen(const std::string& name);

  const std::string path_;
  std::vector<std::string> names_;
  std::vector<ipc::UniqueFd> sockets_;
};

}  // namespace monitor
