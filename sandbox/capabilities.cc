#include "sandbox/capabilities.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sandbox {

namespace {

// Takes all others from the bounding set.
ipc::Result<> bound_capabilities(std::uint64_t kept) {
  for (unsigned capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
    if ((kept >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability) != 0)
      return ipc::system_failure("prctl(CAPBSET_DROP)");
  return {};
}

}  // namespace

ipc::Result<> keep_capabilities(std::uint64_t kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return ipc::system_failure("capget");
  if ((sets[0].effective >> CAP_SETPCAP & 1) != 0) TRY(bound_capabilities(kept));
  for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
    const auto word = static_cast<std::uint32_t>(kept >> (32 * i));
    // What is not inheritable is not ambient either (capabilities(7)).
    sets[i] = {.effective = sets[i].effective & word, .permitted = sets[i].permitted & word, .inheritable = 0};
  }
  return ::syscall(SYS_capset, &header, sets) == 0 ? ipc::Result<>() : ipc::system_failure("capset");
}

ipc::Result<> take_identity([[maybe_unused]] const std::optional<Identity>& identity) {
#ifndef BULKHEAD_SANITIZED
  if (identity) {
    TRY(bound_capabilities(0));
    if (::setgroups(0, nullptr) != 0) return ipc::system_failure("setgroups");
    if (::setresgid(identity->gid, identity->gid, identity->gid) != 0) return ipc::system_failure("setresgid");
    if (::setresuid(identity->uid, identity->uid, identity->uid) != 0) return ipc::system_failure("setresuid");
  }
  TRY(keep_capabilities(0));  // a change of uid may leave some (prctl(2), PR_SET_KEEPCAPS; securebits)
#endif
  return {};
}

}  // namespace sandbox
