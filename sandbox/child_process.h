// How the monitor starts a child: already jailed when its first instruction runs.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "ipc/clock.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "sandbox/identity.h"
#include "sandbox/violation.h"

namespace sandbox {

namespace jail {
struct Plan;
}

// What every child finds: 0 and 1 are /dev/null, and there is nothing beyond these two.
inline constexpr int kLogFd = 2;
inline constexpr int kControlFd = 3;

// Hard and soft at once. Core dumps are always off: they would hold guest RAM.
struct Limits {
  rlim_t open_files = 256;
  rlim_t file_bytes = RLIM_INFINITY;  // a file cannot be written beyond it: EFBIG, and SIGXFSZ, which pid 1 ignores
  rlim_t threads = 64;                // the kernel's io_uring workers count too
  rlim_t locked_bytes = 8 << 20;
  rlim_t address_space = RLIM_INFINITY;  // bytes, guest RAM included
};

struct ChildSpec {
  std::string name;  // for errors, and argv[0]
  const ipc::UniqueFd&
      program;  // a static-pie executable, O_PATH or O_RDONLY; the child's uid must be able to execute it
  std::vector<std::string> arguments;  // argv[1] and so on
  ipc::UniqueFd control;               // becomes kControlFd
  ipc::UniqueFd log;                   // becomes kLogFd
  std::optional<Identity> identity;    // exactly when we are root; otherwise a user namespace that maps our own uid
  Limits limits;
  const ipc::UniqueFd* cgroup = nullptr;  // a cgroup v2's directory, that it is in from the start; none: ours
};

// A program that needs no jail of ours: it has one of its own, or is trusted.
struct HelperSpec {
  std::vector<std::string> arguments;     // its path, argv[1] and so on
  ipc::UniqueFd socket{};                 // becomes kControlFd, or /dev/null does
  const ipc::UniqueFd* log = nullptr;     // becomes kLogFd, or our stderr does
  const ipc::UniqueFd* folder = nullptr;  // it works there, or where we do
  const ipc::UniqueFd* cgroup = nullptr;
  bool dies_with_us = true;
};

// How a process ended.
struct Exit {
  enum class Kind { Exited, Killed };
  Kind kind;
  int value;                // Exited: the status; Killed: the signal
  int call = kUnknownCall;  // Killed by its filter: violation_of()

  bool clean() const { return kind == Kind::Exited && value == 0; }
  // "exit status 3"; "killed by signal 31 (Bad system call): its policy does not list ptrace so". "So": it may list the
  // call with other arguments.
  std::string describe() const;
};

// A child and its lifetime: it does not outlive this object, nor the thread that called spawn(), nor
// this process. Wait for it here alone: no wait(2) for any child, and SIGCHLD must not be ignored.
class ChildProcess {
 public:
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();  // SIGKILL, and waits until it is gone

  const std::string& name() const { return name_; }
  pid_t pid() const { return pid_; }                     // in our pid namespace
  const ipc::UniqueFd& pidfd() const { return pidfd_; }  // readable when the child has ended

  void kill();  // SIGKILL; harmless when it has ended

  // How it ended, or nothing while it runs.
  ipc::Result<std::optional<Exit>> exit_status();
  // Waits until it ends.
  ipc::Result<Exit> wait();

 private:
  friend ipc::Result<ChildProcess> spawn(ChildSpec spec);
  friend ipc::Result<ChildProcess> start_helper(HelperSpec spec);
  ChildProcess(std::string name, pid_t pid, ipc::UniqueFd pidfd, bool jailed)
      : name_(std::move(name)), pid_(pid), pidfd_(std::move(pidfd)), jailed_(jailed) {}
  static ipc::Result<ChildProcess> start(ChildSpec& spec);
  static ipc::Result<ChildProcess> start(HelperSpec& spec);
  static ipc::Result<ChildProcess> run(const std::string& name, jail::Plan& plan, bool jailed,
                                       const ipc::UniqueFd* cgroup);
  ipc::Result<std::optional<Exit>> reap(int options);

  std::string name_;
  pid_t pid_ = -1;
  ipc::UniqueFd pidfd_;
  bool jailed_;
  std::uint64_t started_us_ = ipc::monotonic_ns() / 1000;
  std::optional<Exit> exit_;
};

// Starts the child in new pid, mount, network, IPC, UTS and cgroup namespaces (and a user namespace
// without an identity), with an empty read-only root, without capabilities or a way to get any, with
// an empty environment and exactly the descriptors above. Returns when its program runs: some
// milliseconds. An error names the step: "spawn blk0: pivot_root: Operation not permitted"; EINVAL if
// the identity is 0 or missing.
ipc::Result<ChildProcess> spawn(ChildSpec spec);

// Starts it with our rights, in a session of its own, with an empty environment and exactly these descriptors. Errors
// as above.
ipc::Result<ChildProcess> start_helper(HelperSpec spec);

}  // namespace sandbox
