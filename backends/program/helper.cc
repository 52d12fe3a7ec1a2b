#include "backends/program/helper.h"

#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "ipc/unix_socket.h"

namespace program {
namespace {

// Close-on-exec is no help without an exec. `low` is below `high`, and may be -1.
void close_others(int low, int high) {
  if (low > 0) ::syscall(SYS_close_range, 0, low - 1, 0);
  if (high - low > 1) ::syscall(SYS_close_range, low + 1, high - 1, 0);
  ::syscall(SYS_close_range, high + 1, ~0u, 0);
}

[[noreturn]] void become(const Helper& helper, const ipc::UniqueFd& line) {
  const int kept = helper.kept != nullptr ? helper.kept->get() : -1;
  close_others(std::min(kept, line.get()), std::max(kept, line.get()));
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const char ready = 1;
  if (sandbox::enter_filter(helper.policy, helper.slots) && ::write(line.get(), &ready, 1) == 1) helper.work(line);
  ::_exit(0);
}

}  // namespace

ipc::Result<ipc::UniqueFd> start_helper(const Helper& helper) {
  auto [ours, theirs] = TRY(ipc::StreamPair::make());
  const pid_t child = ::fork();
  if (child < 0) return ipc::system_failure("start " + helper.what);
  if (child == 0) become(helper, theirs);
  theirs = ipc::UniqueFd();
  char ready = 0;
  if (::read(ours.get(), &ready, 1) != 1) return ipc::failure(EPERM, "seal " + helper.what);
  return std::move(ours);
}

}  // namespace program
