#include "ipc/unix_socket.h"

namespace ipc {

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

}  // namespace ipc
