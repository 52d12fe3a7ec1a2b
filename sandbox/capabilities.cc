#include "sandbox/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sandbox {

ipc::Result<> keep_capabilities(std::uint64_t kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return ipc::system_failure("capget");
  if ((sets[0].effective >> CAP_SETPCAP & 1) != 0)
    for (unsigned capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
      if ((kept >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability) != 0)
        return ipc::system_failure("prctl(CAPBSET_DROP)");
  for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
    const auto word = static_cast<std::uint32_t>(kept >> (32 * i));
    // What is not inheritable is not ambient either (capabilities(7)).
    sets[i] = {.effective = sets[i].effective & word, .permitted = sets[i].permitted & word, .inheritable = 0};
  }
  return ::syscall(SYS_capset, &header, sets) == 0 ? ipc::Result<>() : ipc::system_failure("capset");
}

}  // namespace sandbox
