#include "monitor/control_folder.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/unix_socket.h"

namespace monitor {

using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr int kWaiting = 8;  // connections that may wait for their turn
constexpr const char* kMonitorsOwn = "control";

Result<> check_ours(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return ipc::system_failure("control folder " + path);
  if (!S_ISDIR(status.st_mode)) return ipc::failure(ENOTDIR, "control folder " + path);
  if (status.st_uid != ::geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return ipc::failure(EACCES, fmt::format("control folder {}: one of our own that nobody else may look into (mode "
                                            "0700) is right",
                                            path));
  if (ipc::connect_unix(path + "/" + kMonitorsOwn, SOCK_SEQPACKET | SOCK_NONBLOCK))
    return ipc::failure(EADDRINUSE, fmt::format("control folder {}: another machine uses it", path));
  return {};
}

}  // namespace

Result<std::unique_ptr<ControlFolder>> ControlFolder::make(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash != 0) ::mkdir(path.substr(0, slash).c_str(), 0755);  // or it is there
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ipc::system_failure("control folder " + path);
  TRY(check_ours(path));
  return std::unique_ptr<ControlFolder>(new ControlFolder(path));
}

ControlFolder::~ControlFolder() {
  for (const std::string& name : names_) ::unlink((path_ + "/" + name).c_str());
  ::rmdir(path_.c_str());
}

Result<UniqueFd> ControlFolder::listen(const std::string& name) {
  const std::string path = path_ + "/" + name;
  const sockaddr_un address = TRY(ipc::unix_address(path));
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) ::unlink(path.c_str());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Linux makes the path with the socket's own mode.
  if (!socket || ::fchmod(socket.get(), S_IRUSR | S_IWUSR) != 0) return ipc::system_failure("make a Unix socket");
  if (::bind(socket.get(), ipc::generic(address), sizeof address) != 0) return ipc::system_failure(path);
  names_.push_back(name);
  if (::listen(socket.get(), kWaiting) != 0) return ipc::system_failure(path);
  return socket;
}

}  // namespace monitor
