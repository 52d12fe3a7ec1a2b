#include "backends/program/socket_keeper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "backends/program/helper.h"
#include "sandbox/policy/back_end.h"

namespace program {

ipc::Result<SocketKeeper> SocketKeeper::start(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::string folder = whole.has_parent_path() ? whole.parent_path().string() : ".";
  const std::string name = whole.filename().string();
  const ipc::UniqueFd directory(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return ipc::system_failure(fmt::format("open {}", folder));
  struct stat bound{};
  if (::fstatat(directory.get(), name.c_str(), &bound, AT_SYMLINK_NOFOLLOW) != 0) return ipc::system_failure(path);
  return SocketKeeper(TRY(start_helper({
      .what = "the keeper of the socket's path",
      .kept = &directory,
      .policy = sandbox::kKeeperPolicy,
      .slots = sandbox::Slots().set(sandbox::Slot::Directory, directory),
      .work =
          [&](const ipc::UniqueFd& line) {
            char word = 0;
            struct stat now{};
            if (::read(line.get(), &word, 1) == 1 &&
                ::fstatat(directory.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 &&
                now.st_ino == bound.st_ino && now.st_dev == bound.st_dev)
              ::unlinkat(directory.get(), name.c_str(), 0);
          },
  })));
}

void SocketKeeper::remove() {
  char word = 1;
  if (::write(line_.get(), &word, 1) != 1) return;
  [[maybe_unused]] const ssize_t ended = ::read(line_.get(), &word, 1);  // 0, when it has gone
}

}  // namespace program
