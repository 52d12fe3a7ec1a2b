#include "backends/program/socket_keeper.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "sandbox/policy/back_end.h"

namespace program {
namespace {

// Close-on-exec is no help without an exec. Of the two descriptors it keeps one on each side of a gap.
void close_others(int a, int b) {
  const unsigned low = static_cast<unsigned>(std::min(a, b));
  const unsigned high = static_cast<unsigned>(std::max(a, b));
  if (low > 0) ::syscall(SYS_close_range, 0, low - 1, 0);
  if (high - low > 1) ::syscall(SYS_close_range, low + 1, high - 1, 0);
  ::syscall(SYS_close_range, high + 1, ~0u, 0);
}

[[noreturn]] void keep(const ipc::UniqueFd& line, const ipc::UniqueFd& directory, const char* name) {
  struct stat ours{};
  const bool known = ::fstatat(directory.get(), name, &ours, AT_SYMLINK_NOFOLLOW) == 0;
  close_others(line.get(), directory.get());
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const bool sealed =
      sandbox::enter_filter(sandbox::kKeeperPolicy, sandbox::Slots().set(sandbox::Slot::Directory, directory))
          .has_value();
  char word = 1;
  struct stat now{};
  if (known && sealed && ::write(line.get(), &word, 1) == 1 && ::read(line.get(), &word, 1) == 1 &&
      ::fstatat(directory.get(), name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == ours.st_ino &&
      now.st_dev == ours.st_dev)
    ::unlinkat(directory.get(), name, 0);
  ::_exit(0);
}

}  // namespace

ipc::Result<SocketKeeper> SocketKeeper::start(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::string folder = whole.has_parent_path() ? whole.parent_path().string() : ".";
  const std::string name = whole.filename().string();
  const ipc::UniqueFd directory(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return ipc::system_failure(fmt::format("open {}", folder));
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return ipc::system_failure("socketpair");
  ipc::UniqueFd ours(ends[0]);
  ipc::UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return ipc::system_failure("start the keeper of the socket's path");
  if (child == 0) keep(theirs, directory, name.c_str());
  theirs = ipc::UniqueFd();
  // When it says that it is ready it holds no copy of our other descriptors any more.
  char word = 0;
  if (::read(ours.get(), &word, 1) != 1) return ipc::failure(EPERM, "seal the keeper of the socket's path");
  return SocketKeeper(std::move(ours));
}

void SocketKeeper::remove() {
  char word = 1;
  if (::write(line_.get(), &word, 1) != 1) return;
  [[maybe_unused]] const ssize_t ended = ::read(line_.get(), &word, 1);  // 0, when it has gone
}

}  // namespace program
