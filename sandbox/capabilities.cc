#include "sandbox/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace sandbox {
namespace {

[[maybe_unused]] constexpr unsigned kKept[] = {
    CAP_SYS_ADMIN,         // a child's namespaces, its root and its host name
    CAP_SETUID,            // its uid
    CAP_SETGID,            // its gid, no other groups
    CAP_SETPCAP,           // its empty bounding set
    CAP_KILL,              // it has another uid
    CAP_DAC_OVERRIDE,      // somebody else's back end, a cable's path, our control folder's sockets
    CAP_NET_BIND_SERVICE,  // passt: forwards of ports below 1024
    CAP_SYSLOG,            // which call a child was killed for: violation_of()
};

}  // namespace

#ifdef BULKHEAD_SANITIZED

ipc::Result<> keep_what_children_need() {
  return {};
}

#else

ipc::Result<> keep_what_children_need() {
  std::uint64_t kept = 0;
  for (const unsigned capability : kKept) kept |= std::uint64_t{1} << capability;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return ipc::system_failure("capget");
  const auto has = [&](unsigned capability) { return (sets[capability / 32].effective >> (capability % 32) & 1) != 0; };
  if (has(CAP_SETPCAP))
    for (unsigned capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
      if ((kept >> capability & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability) != 0)
        return ipc::system_failure("prctl(CAPBSET_DROP)");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return ipc::system_failure("prctl(CAP_AMBIENT)");
  for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
    const auto word = static_cast<std::uint32_t>(kept >> (32 * i));
    sets[i] = {.effective = sets[i].effective & word, .permitted = sets[i].permitted & word, .inheritable = 0};
  }
  return ::syscall(SYS_capset, &header, sets) == 0 ? ipc::Result<>() : ipc::system_failure("capset");
}

#endif

}  // namespace sandbox
