#include "sandbox/parent.h"

#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

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

constexpr int kNever[] = {
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,  // code of the kernel itself
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,  // another kernel, or none
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,  // much code, often broken
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,  // other processes
    SYS_pidfd_getfd,
    SYS_process_madvise,
    SYS_kcmp,
    SYS_open_by_handle_at,
    SYS_chroot,
    SYS_mknod,  // files past their folders' rights
    SYS_mknodat,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,  // the host's clock
    SYS_clock_adjtime,
    SYS_iopl,
    SYS_ioperm,  // its ports
    SYS_modify_ldt,
    SYS_personality,
    SYS_vhangup,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,  // its keys
    SYS_setns,
};

#ifndef BULKHEAD_SANITIZED

ipc::Result<> keep_capabilities() {
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

struct ReleaseContext {
  void operator()(void* context) const { ::seccomp_release(context); }
};

// libseccomp sets no_new_privs, and kills for calls of another architecture.
ipc::Result<> refuse_calls() {
  const std::unique_ptr<void, ReleaseContext> context(::seccomp_init(SCMP_ACT_ALLOW));
  if (!context) return ipc::failure(ENOMEM, "seccomp_init");
  int error = ::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  for (const int call : kNever)
    if (error == 0) error = ::seccomp_rule_add_exact(context.get(), SCMP_ACT_ERRNO(EPERM), call, 0);
  if (error == 0) error = ::seccomp_load(context.get());
  return error == 0 ? ipc::Result<>() : ipc::failure(-error, "enter the monitor's filter");
}

#endif

}  // namespace

const std::span<const int> kNeverCalled = kNever;

#ifdef BULKHEAD_SANITIZED

ipc::Result<> confine_parent() {
  return {};
}

#else

ipc::Result<> confine_parent() {
  TRY(keep_capabilities());
  return refuse_calls();
}

#endif

}  // namespace sandbox
