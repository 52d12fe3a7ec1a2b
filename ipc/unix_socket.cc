#include "ipc/unix_socket.h"

#include <sys/stat.h>
#include <unistd.h>

namespace ipc {
namespace {

// A process that was killed leaves its socket's path behind.
Result<> remove_stale(const std::string& path, int type) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return errno == ENOENT ? Result<>() : system_failure(path);
  if (!S_ISSOCK(status.st_mode)) return failure(EEXIST, fmt::format("{}: no socket", path));
  const auto visitor = connect_unix(path, type | SOCK_NONBLOCK);
  if (visitor || visitor.error().code != ECONNREFUSED)
    return failure(EADDRINUSE, fmt::format("{}: another process listens there", path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_failure(path);
  return {};
}

}  // namespace

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path)
    return failure(ENAMETOOLONG, fmt::format("{}: at most {} bytes", path, sizeof address.sun_path - 1));
  path.copy(address.sun_path, path.size());
  return address;
}

Result<UniqueFd> connect_unix(const std::string& path, int type) {
  const sockaddr_un address = TRY(unix_address(path));
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket) return system_failure("make a Unix socket");
  if (::connect(socket.get(), generic(address), sizeof address) != 0) return system_failure(path);
  return socket;
}

Result<UniqueFd> bind_unix(const std::string& path, int type, mode_t mode) {
  const sockaddr_un address = TRY(unix_address(path));
  TRY(remove_stale(path, type));
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  // Linux makes the path with the socket's own mode, so there is no moment at which others could connect.
  if (!socket || ::fchmod(socket.get(), mode) != 0) return system_failure("make a Unix socket");
  if (::bind(socket.get(), generic(address), sizeof address) != 0)
    return system_failure(fmt::format("listen on {}", path));
  return socket;
}

Result<StreamPair> StreamPair::make() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return system_failure("socketpair");
  return StreamPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

}  // namespace ipc
