#include "ipc/file_lock.h"

#include <fcntl.h>
#include <poll.h>

namespace ipc {
namespace {

constexpr std::chrono::duration<int, std::milli> kPause{10};

int set_lock(const UniqueFd& file, short type) {
  struct flock whole{};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return ::fcntl(file.get(), F_OFD_SETLK, &whole);
}

}  // namespace

Result<> lock_file(const UniqueFd& file, Lock lock, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (set_lock(file, lock == Lock::Shared ? F_RDLCK : F_WRLCK) != 0) {
    if (errno != EAGAIN && errno != EACCES) return system_failure("cannot be locked");
    if (std::chrono::steady_clock::now() > end) return failure(EBUSY, "in use by another process (it is locked)");
    ::poll(nullptr, 0, kPause.count());
  }
  return {};
}

void unlock_file(const UniqueFd& file) {
  set_lock(file, F_UNLCK);  // cannot fail where lock_file() did not
}

}  // namespace ipc
