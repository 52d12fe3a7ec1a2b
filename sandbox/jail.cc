#include "sandbox/jail.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace sandbox::jail {
namespace {

// Where the descriptors are between the clone and the exec.
constexpr int kProgramFd = 4;
constexpr int kReportFd = 5;
constexpr int kFirstSpareFd = 6;
constexpr int kParkingFd = 16;  // above all of these

int report_fd = -1;  // of the child: its copy of this variable

[[noreturn]] void fail(const char* step) {
  Report report{.step = {}, .error = errno};
  std::strncpy(report.step.data(), step, report.step.size() - 1);
  // A parent that cannot be told sees the status.
  [[maybe_unused]] const ssize_t written = ::write(report_fd, &report, sizeof report);
  ::_exit(127);
}

void check(bool done, const char* step) {
  if (!done) fail(step);
}

// The C library's wrappers of these act on all threads that it knows of; here is one that it doesn't.
template <class... Arguments>
bool raw(long number, Arguments... arguments) {
  return ::syscall(number, arguments...) == 0;
}

void reset_signals() {
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);  // refused for two of them
}

int park(int fd) {
  const int parked = ::fcntl(fd, F_DUPFD_CLOEXEC, kParkingFd);
  check(parked >= 0, "fcntl(F_DUPFD)");
  return parked;
}

// First all out of the way of the numbers that they are to have, then there.
void arrange_descriptors(const Plan& plan) {
  const int null = park(plan.null);
  const int log = park(plan.log);
  const int control = park(plan.control);
  const int program = park(plan.program);
  report_fd = park(plan.report);
  check(::dup2(null, 0) == 0 && ::dup2(null, 1) == 1, "dup2(/dev/null)");
  check(::dup2(log, kLogFd) == kLogFd, "dup2(log)");
  check(::dup2(control, kControlFd) == kControlFd, "dup2(control)");
  check(::dup3(program, kProgramFd, O_CLOEXEC) == kProgramFd, "dup3(program)");
  check(::dup3(report_fd, kReportFd, O_CLOEXEC) == kReportFd, "dup3(report)");
  report_fd = kReportFd;
  check(raw(SYS_close_range, kFirstSpareFd, ~0u, 0), "close_range");
}

void set_limits(const Plan& plan) {
  for (const Limit& limit : plan.limits)
    check(::setrlimit(static_cast<__rlimit_resource>(limit.resource), &limit.value) == 0, "setrlimit");
}

// If the parent is gone already then nobody reads the report any more: its end of the pipe was closed
// before children are told of its death, so one of the two always works.
void die_with_parent() {
  check(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "prctl(PDEATHSIG)");
  pollfd report{.fd = kReportFd, .events = 0, .revents = 0};
  check(::poll(&report, 1, 0) >= 0, "poll(report)");
  if ((report.revents & POLLERR) != 0) ::_exit(127);
}

[[noreturn]] void execute(const Plan& plan, char* const* environment) {
  sigset_t none;
  ::sigemptyset(&none);
  check(::sigprocmask(SIG_SETMASK, &none, nullptr) == 0, "sigprocmask");
  ::syscall(SYS_execveat, kProgramFd, "", plan.arguments, environment, AT_EMPTY_PATH);
  fail("execveat");
}

#ifndef BULKHEAD_SANITIZED

void write_file(const char* path, std::string_view text, const char* step) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  check(fd >= 0, step);
  check(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), step);
  ::close(fd);
}

void map_own_identity(const Plan& plan) {
  write_file("/proc/self/setgroups", "deny", "setgroups(deny)");
  write_file("/proc/self/uid_map", plan.uid_map.data(), "uid_map");
  write_file("/proc/self/gid_map", plan.gid_map.data(), "gid_map");
}

// A file system of one inode, the root directory itself, in place of the host's.
void enter_empty_root() {
  check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount(private)");
  const int context = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
  check(context >= 0, "fsopen(tmpfs)");
  check(::fsconfig(context, FSCONFIG_SET_STRING, "size", "4096", 0) == 0 &&
            ::fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) == 0 &&
            ::fsconfig(context, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
            ::fsconfig(context, FSCONFIG_SET_FLAG, "ro", nullptr, 0) == 0 &&
            ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0,
        "fsconfig(tmpfs)");
  const int root =
      ::fsmount(context, FSMOUNT_CLOEXEC,
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW);
  check(root >= 0, "fsmount(tmpfs)");
  check(::move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
  check(::fchdir(root) == 0, "fchdir");
  // pivot_root(2), NOTES: with both arguments the same the old root lies on top of the new one.
  check(raw(SYS_pivot_root, ".", "."), "pivot_root");
  check(::umount2(".", MNT_DETACH) == 0, "umount(old root)");
  check(::chdir("/") == 0, "chdir");
  ::close(root);
  ::close(context);
}

void drop_identity(const Identity& identity) {
  check(raw(SYS_setgroups, 0, nullptr), "setgroups");
  check(raw(SYS_setresgid, identity.gid, identity.gid, identity.gid), "setresgid");
  check(raw(SYS_setresuid, identity.uid, identity.uid, identity.uid), "setresuid");
}

void drop_bounding_set() {
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability)
    check(::prctl(PR_CAPBSET_DROP, capability) == 0, "prctl(CAPBSET_DROP)");
}

// None is permitted, so none is ambient either (capabilities(7)).
void drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  check(raw(SYS_capset, &header, none), "capset");
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl(NO_NEW_PRIVS)");
}

#endif

}  // namespace

void stay_outside(const Plan& plan) {
  report_fd = plan.report;
  reset_signals();
  check(::setsid() >= 0, "setsid");
  if (plan.folder >= 0) check(::fchdir(plan.folder) == 0, "fchdir");
  arrange_descriptors(plan);
  set_limits(plan);
  if (plan.dies_with_parent) die_with_parent();
#ifdef BULKHEAD_SANITIZED
  execute(plan, ::environ);  // it has the sanitizers' options
#else
  char* const no_environment[] = {nullptr};
  execute(plan, no_environment);
#endif
}

#ifdef BULKHEAD_SANITIZED

unsigned long long namespaces(const Plan&) {
  return 0;
}

void enter(const Plan& plan) {
  stay_outside(plan);
}

#else

unsigned long long namespaces(const Plan& plan) {
  return (plan.identity ? 0ull : CLONE_NEWUSER) | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
         CLONE_NEWUTS | CLONE_NEWCGROUP;
}

void enter(const Plan& plan) {
  report_fd = plan.report;
  reset_signals();
  if (!plan.identity) map_own_identity(plan);
  check(::setsid() >= 0, "setsid");
  arrange_descriptors(plan);
  constexpr std::string_view kHost = "bulkhead";
  check(::sethostname(kHost.data(), kHost.size()) == 0, "sethostname");
  check(::setdomainname(kHost.data(), kHost.size()) == 0, "setdomainname");
  enter_empty_root();
  drop_bounding_set();
  if (plan.identity) drop_identity(*plan.identity);
  drop_capabilities();
  ::umask(077);
  set_limits(plan);
  die_with_parent();  // after the change of identity, which would forget it
  char* const no_environment[] = {nullptr};
  execute(plan, no_environment);
}

#endif

}  // namespace sandbox::jail
