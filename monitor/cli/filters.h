// What seccomp filters the kernel really holds of a thread, and which calls can pass them.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <set>
#include <span>
#include <vector>

#include "ipc/error.h"

namespace cli {

using Filter = std::vector<sock_filter>;

// Of that thread, which stands still for it, less than a millisecond. EPERM for who has no CAP_SYS_ADMIN, EIO and
// EINVAL where the kernel cannot tell (CONFIG_CHECKPOINT_RESTORE), ETIMEDOUT for one that cannot be stopped within a
// second.
ipc::Result<std::vector<Filter>> filters_of(pid_t thread);

struct Passing {
  std::set<int> calls;   // x86-64's, that each of the filters lets through with one argument or another
  bool foreign = false;  // a call of x32, or of 32 bits
  bool operator==(const Passing&) const = default;
};
Passing passing(std::span<const Filter> filters);

}  // namespace cli
