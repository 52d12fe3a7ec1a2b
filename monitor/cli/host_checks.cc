#include <liburing.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "ipc/error.h"
#include "monitor/cli/doctor.h"
#include "sandbox/seal.h"

namespace cli {
namespace {

std::string error_text(int error) {
  return std::strerror(error);
}

Check kernel() {
  // The youngest that we need is io_uring's restrictions (5.10); this is the next kernel that is kept up.
  constexpr unsigned kMajor = 5;
  constexpr unsigned kMinor = 15;
  utsname name{};
  ::uname(&name);
  unsigned major = 0;
  unsigned minor = 0;
  const bool ok = std::sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
                  (major > kMajor || (major == kMajor && minor >= kMinor));
  return {.name = "kernel",
          .ok = ok,
          .required = true,
          .found = name.release,
          .advice = ok ? "" : fmt::format("Linux {}.{} or later", kMajor, kMinor)};
}

// A ring as bulkhead-blk makes it: made disabled, restricted, then enabled. 0, or a negative errno.
int try_ring(unsigned mode) {
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_R_DISABLED | mode;
  io_uring ring{};
  const int made = ::io_uring_queue_init_params(8, &ring, &parameters);
  if (made != 0) return made;
  io_uring_restriction restriction{};
  restriction.opcode = IORING_RESTRICTION_SQE_OP;
  restriction.sqe_op = IORING_OP_NOP;
  int result = ::io_uring_register_restrictions(&ring, &restriction, 1);
  if (result == 0) result = ::io_uring_enable_rings(&ring);
  ::io_uring_queue_exit(&ring);
  return result < 0 ? result : 0;
}

// The mode is an optimization that bulkhead-blk does without where it has to.
Check io_uring() {
  const bool deferred = try_ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0;
  const int result = deferred ? 0 : try_ring(0);
  Check check{.name = "io_uring", .ok = result == 0, .required = true, .found = "", .advice = ""};
  if (deferred) {
    check.found = "with restrictions and deferred work";
  } else if (check.ok) {
    check.found = "with restrictions; deferred work, which is faster, needs Linux 6.1";
  } else {
    const bool refused = result == -EPERM || result == -EACCES;
    check.found = error_text(-result);
    check.advice = refused ? "sysctl kernel.io_uring_disabled=0" : "a kernel with CONFIG_IO_URING";
  }
  return check;
}

// One of the layers of a child; without `required` ones guests do not run.
Check layer(std::string name, bool ok, bool required, std::string found, std::string advice) {
  return {.name = std::move(name),
          .ok = ok,
          .required = required,
          .found = ok ? std::move(found) : "absent",
          .advice = ok ? "" : std::move(advice)};
}

std::vector<Check> check_layers() {
  const sandbox::Protections there = sandbox::supported_protections();
  return {layer("seccomp", there.seccomp_kill_process, true, "filters that kill the process",
                "a kernel with CONFIG_SECCOMP_FILTER"),
          layer("Landlock", there.landlock_abi > 0, false, fmt::format("ABI {}", there.landlock_abi),
                "boot with lsm=landlock,… : children lack one of their layers"),
          layer("memory-deny-write-exec", there.deny_write_execute, false, "there",
                "Linux 6.3 or later: children lack one of their layers"),
          layer("core scheduling", there.core_scheduling, false, "no core is shared with others at the same time",
                "Linux 5.14 or later with CONFIG_SCHED_CORE")};
}

// Tried in a child, which it would change.
Check user_namespaces() {
  const bool root = ::geteuid() == 0;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
  int status = 0;
  const bool ok = child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return {
      .name = "user namespaces",
      .ok = ok,
      .required = !root,
      .found = ok ? "can be made" : "cannot be made",
      .advice = ok ? "" : "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=15000; or run as root"};
}

Check cgroups() {
  struct statfs status{};
  const bool ok =
      ::statfs("/sys/fs/cgroup", &status) == 0 && static_cast<unsigned long>(status.f_type) == CGROUP2_SUPER_MAGIC;
  return {.name = "cgroup v2",
          .ok = ok,
          .required = false,
          .found = ok ? "mounted at /sys/fs/cgroup" : "not the hierarchy at /sys/fs/cgroup",
          .advice = ok ? "" : "boot with systemd.unified_cgroup_hierarchy=1"};
}

Check huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  std::string line;
  std::getline(file, line);
  const std::size_t open = line.find('[');
  const std::string mode = open == std::string::npos ? "" : line.substr(open + 1, line.find(']') - open - 1);
  const bool ok = !mode.empty() && mode != "never" && mode != "deny";
  return {.name = "huge pages",
          .ok = ok,
          .required = false,
          .found = mode.empty() ? "absent" : "transparent, for shared memory: " + mode,
          .advice = ok ? "" : "echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled: guests run faster"};
}

}  // namespace

std::vector<Check> check_host() {
  std::vector<Check> checks{kernel(), io_uring()};
  std::ranges::move(check_layers(), std::back_inserter(checks));
  for (Check& check : std::array{user_namespaces(), cgroups(), huge_pages()}) checks.push_back(std::move(check));
  return checks;
}

}  // namespace cli
