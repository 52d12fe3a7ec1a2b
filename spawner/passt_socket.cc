#include "spawner/passt_socket.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "ipc/unix_socket.h"

namespace spawner {

using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr std::size_t kMostSaid = 4096;

}  // namespace

// Debian's AppArmor profile lets passt make sockets beneath /tmp alone. That of root's machine becomes nobody, who may
// write to the inner folder; the outer one lets nobody else through.
Result<std::unique_ptr<PasstSocket>> PasstSocket::make() {
  std::string path = "/tmp/bulkhead-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return ipc::system_failure("make a folder in /tmp");
  std::unique_ptr<PasstSocket> made(new PasstSocket(path));
  path += "/passt";
  if (::mkdir(path.c_str(), 0700) != 0 || ::chmod(path.c_str(), 0777) != 0) return ipc::system_failure(path);
  made->folder_ = UniqueFd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!made->folder_) return ipc::system_failure(path);
  made->log_ = UniqueFd(::memfd_create("passt", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made->log_ || ::ftruncate(made->log_.get(), kMostSaid) != 0 ||
      ::fcntl(made->log_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) != 0)
    return ipc::system_failure("a log for passt");
  return made;
}

std::string PasstSocket::last_words() const {
  std::array<char, kMostSaid> said;
  const ssize_t size = ::pread(log_.get(), said.data(), said.size(), 0);
  std::string_view text(said.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  text = text.substr(0, text.find('\0'));
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

Result<UniqueFd> PasstSocket::connect() {
  if (!socket_) socket_ = UniqueFd(::openat(folder_.get(), kName, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!socket_) return ipc::failure(EAGAIN, "passt");
  if (connection_) ::shutdown(connection_.get(), SHUT_RDWR);
  auto connected = ipc::connect_unix(fmt::format("/proc/self/fd/{}", socket_.get()), SOCK_STREAM | SOCK_NONBLOCK);
  if (!connected) {
    const bool listens = connected.error().code != ECONNREFUSED;  // it may be bound, and no more
    return listens ? std::move(connected) : ipc::failure(EAGAIN, "passt");
  }
  remove_names();  // from now on the descriptor will do
  connection_ = UniqueFd(::fcntl(connected->get(), F_DUPFD_CLOEXEC, 0));
  return connected;
}

// Once: what has these names afterwards is another's.
void PasstSocket::remove_names() {
  const std::string path = std::exchange(path_, {});
  if (path.empty()) return;
  ::unlinkat(folder_.get(), kName, 0);
  ::rmdir((path + "/passt").c_str());
  ::rmdir(path.c_str());
}

}  // namespace spawner
