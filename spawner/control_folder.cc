#include "spawner/control_folder.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "ipc/unix_socket.h"

namespace spawner {

using ipc::Result;
using ipc::UniqueFd;

namespace {

// For the spawner of a machine whose monitor was killed: its processes end, and it removes what they used.
constexpr std::chrono::milliseconds kPatience{1000};
constexpr int kWaiting = 8;  // connections that may wait for their turn

Result<> check_ours(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return ipc::system_failure("control folder " + path);
  if (!S_ISDIR(status.st_mode)) return ipc::failure(ENOTDIR, "control folder " + path);
  if (status.st_uid != ::geteuid() || (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return ipc::failure(EACCES, fmt::format("control folder {}: one of our own that nobody else may look into (mode "
                                            "0700) is right",
                                            path));
  return {};
}

}  // namespace

Result<std::unique_ptr<ControlFolder>> ControlFolder::make(const std::string& path, std::vector<std::string> names) {
  const std::size_t slash = path.find_last_of('/');
  if (slash != std::string::npos && slash != 0) ::mkdir(path.substr(0, slash).c_str(), 0755);  // or it is there
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ipc::system_failure("control folder " + path);
    std::unique_ptr<ControlFolder> folder;
    auto taken = check_ours(path);
    if (taken) {
      folder.reset(new ControlFolder(path));
      taken = folder->listen(names.front());
    }
    if (taken) {
      for (const std::string& name : std::span(names).subspan(1)) TRY(folder->listen(name));
      return folder;
    }
    // ENOENT: its last user has removed it since.
    if (taken.error().code != EADDRINUSE && taken.error().code != ENOENT) return std::unexpected(taken.error());
    if (std::chrono::steady_clock::now() >= end)
      return ipc::failure(taken.error().code, fmt::format("control folder {}: another machine uses it", path));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

ControlFolder::~ControlFolder() {
  // As long as the first is there and listens, nobody takes the folder over.
  for (auto name = names_.rbegin(); name != names_.rend(); ++name) ::unlink((path_ + "/" + *name).c_str());
  ::rmdir(path_.c_str());  // another's has sockets in it
}

Result<> ControlFolder::listen(const std::string& name) {
  const std::string path = path_ + "/" + name;
  // With the first the folder is ours: at others the children of a monitor that was killed may listen for a moment yet.
  if (!sockets_.empty()) ::unlink(path.c_str());
  sockets_.push_back(TRY(ipc::bind_unix(path, SOCK_SEQPACKET | SOCK_NONBLOCK, S_IRUSR | S_IWUSR)));
  names_.push_back(name);
  return ::listen(sockets_.back().get(), kWaiting) == 0 ? Result<>() : ipc::system_failure(path);
}

}  // namespace spawner
