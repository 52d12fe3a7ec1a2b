#include "sandbox/parent.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox/capabilities.h"
#include "sandbox/seccomp.h"

namespace sandbox {
namespace {

constexpr unsigned kKept[] = {
    CAP_SYS_ADMIN,         // a child's namespaces, its root and its host name
    CAP_SETUID,            // its uid
    CAP_SETGID,            // its gid, no other groups
    CAP_SETPCAP,           // its empty bounding set
    CAP_KILL,              // it has another uid
    CAP_DAC_OVERRIDE,      // somebody else's back end, a cable's path, our control folder's sockets
    CAP_NET_BIND_SERVICE,  // passt: forwards of ports below 1024
    CAP_SYSLOG,            // which call a child was killed for: violation_of()
};

constexpr std::uint64_t kKeptBits = [] {
  std::uint64_t bits = 0;
  for (const unsigned capability : kKept) bits |= std::uint64_t{1} << capability;
  return bits;
}();

constexpr int kNever[] = {
    // code of the kernel itself
    SYS_init_module, SYS_finit_module, SYS_delete_module,
    // another kernel, or none
    SYS_kexec_load, SYS_kexec_file_load, SYS_reboot,
    // much of the kernel's code, often broken
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd,
    // other processes
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_process_madvise, SYS_kcmp, SYS_setns,
    // files past the rights of their folders, and devices
    SYS_open_by_handle_at, SYS_chroot, SYS_mknod, SYS_mknodat,
    // what all of the host has in common: swap, accounting, quotas
    SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_quotactl_fd,
    // its clock
    SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime,
    // its ports, and relics of the architecture
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_personality, SYS_vhangup,
    // its keys
    SYS_add_key, SYS_request_key, SYS_keyctl};

}  // namespace

const std::uint64_t kParentCapabilities = kKeptBits;
const std::span<const int> kNeverCalled = kNever;

ipc::Result<> confine_parent() {
#ifndef BULKHEAD_SANITIZED
  TRY(keep_capabilities(kKeptBits));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ipc::system_failure("prctl(NO_NEW_PRIVS)");
  const Filter filter = TRY(Filter::refusing(kNever));
  TRY(filter.enter());
#endif
  return {};
}

}  // namespace sandbox
