#include "sandbox/child_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>

#include "sandbox/jail.h"

namespace sandbox {
namespace {

using ipc::Result;
using ipc::UniqueFd;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ipc::system_failure("pipe2");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A limit cannot be raised above the hard limit that we have ourselves.
Result<jail::Limit> limit(int resource, rlim_t wanted) {
  rlimit ours{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &ours) != 0) return ipc::system_failure("getrlimit");
  const rlim_t value = std::min(wanted, ours.rlim_max);
  return jail::Limit{resource, {.rlim_cur = value, .rlim_max = value}};
}

Result<std::vector<jail::Limit>> limits_of(const Limits& limits) {
  std::vector<jail::Limit> all;
  all.push_back(TRY(limit(RLIMIT_CORE, 0)));
  all.push_back(TRY(limit(RLIMIT_FSIZE, limits.file_bytes)));
#ifndef BULKHEAD_SANITIZED  // sanitizers reserve terabytes, and open files and threads of their own
  all.push_back(TRY(limit(RLIMIT_NOFILE, limits.open_files)));
  all.push_back(TRY(limit(RLIMIT_NPROC, limits.threads)));
  all.push_back(TRY(limit(RLIMIT_MEMLOCK, limits.locked_bytes)));
  all.push_back(TRY(limit(RLIMIT_AS, limits.address_space)));
  all.push_back(TRY(limit(RLIMIT_MSGQUEUE, 0)));
  all.push_back(TRY(limit(RLIMIT_SIGPENDING, 64)));
#endif
  return all;
}

std::array<char, 32> map_line(std::uint32_t id) {
  std::array<char, 32> line{};
  std::snprintf(line.data(), line.size(), "%u %u 1", id, id);
  return line;
}

// All signals wait while the child is made: no handler of ours may run in it.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// Like fork(2): the child goes on with a copy of our memory.
Result<pid_t> clone_child(const jail::Plan& plan, bool jailed, const UniqueFd* cgroup, int& pidfd) {
  const SignalsBlocked blocked;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | (jailed ? jail::namespaces(plan) : 0);
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (cgroup != nullptr) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(cgroup->get());
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return ipc::system_failure("clone3");
  if (pid == 0) jailed ? jail::enter(plan) : jail::stay_outside(plan);
  return static_cast<pid_t>(pid);
}

// What execveat(2) takes, of strings that stay where they are.
std::vector<char*> pointers_to(std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The report of a failed step; success when the pipe closes by exec.
Result<> read_report(const UniqueFd& pipe) {
  jail::Report report{};
  ssize_t size;
  do size = ::read(pipe.get(), &report, sizeof report);
  while (size < 0 && errno == EINTR);
  if (size < 0) return ipc::system_failure("read(report)");
  if (size == 0) return {};
  if (static_cast<std::size_t>(size) != sizeof report) return ipc::failure(EPROTO, "read(report)");
  report.step.back() = '\0';
  return ipc::failure(report.error, report.step.data());
}

void say_unsandboxed() {
#ifdef BULKHEAD_SANITIZED
  static bool said = false;
  if (!said) std::fputs("bulkhead: built with sanitizers: children run WITHOUT a sandbox\n", stderr);
  said = true;
#endif
}

}  // namespace

std::string Exit::describe() const {
  if (kind == Kind::Exited) return fmt::format("exit status {}", value);
  const std::string killed = fmt::format("killed by signal {} ({})", value, ::strsignal(value));
  if (call == kUnknownCall) return killed;
  return fmt::format("{}: its policy does not list {} so", killed, name_of_call(call));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      jailed_(other.jailed_),
      started_us_(other.started_us_),
      exit_(std::exchange(other.exit_, std::nullopt)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  ChildProcess old(std::move(*this));  // ends the child that we held
  name_ = std::move(other.name_);
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::move(other.pidfd_);
  jailed_ = other.jailed_;
  started_us_ = other.started_us_;
  exit_ = std::exchange(other.exit_, std::nullopt);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (!pidfd_) return;
  kill();
  std::ignore = reap(0);
}

void ChildProcess::kill() {
  if (pidfd_ && !exit_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

Result<std::optional<Exit>> ChildProcess::exit_status() {
  return reap(WNOHANG);
}

Result<Exit> ChildProcess::wait() {
  const std::optional<Exit> exit = TRY(reap(0));
  return *exit;
}

Result<std::optional<Exit>> ChildProcess::reap(int options) {
  if (exit_) return exit_;
  siginfo_t info{};
  int result;
  do result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | options);
  while (result != 0 && errno == EINTR);
  if (result != 0) return ipc::system_failure("wait for " + name_);
  if (info.si_pid == 0) return std::optional<Exit>();
  exit_ = Exit{info.si_code == CLD_EXITED ? Exit::Kind::Exited : Exit::Kind::Killed, info.si_status};
  // A helper has no table, and who waits for one may have become a process that must not open the log: the monitor.
  const bool by_filter = exit_->kind == Exit::Kind::Killed && exit_->value == SIGSYS;
  if (by_filter && jailed_) exit_->call = violation_of(pid_, started_us_);
  return exit_;
}

Result<ChildProcess> ChildProcess::start(ChildSpec& spec) {
  if (::geteuid() == 0 && !spec.identity) return ipc::failure(EINVAL, "no identity");
  if (spec.identity && (spec.identity->uid == 0 || spec.identity->gid == 0)) return ipc::failure(EINVAL, "identity 0");
  say_unsandboxed();

  spec.arguments.insert(spec.arguments.begin(), spec.name);
  const std::vector<char*> arguments = pointers_to(spec.arguments);
  const std::vector<jail::Limit> limits = TRY(limits_of(spec.limits));
  jail::Plan plan{
      .null = -1,
      .log = spec.log.get(),
      .control = spec.control.get(),
      .program = spec.program.get(),
      .report = -1,
      .arguments = arguments.data(),
      .identity = spec.identity,
      .uid_map = map_line(::geteuid()),
      .gid_map = map_line(::getegid()),
      .limits = limits,
  };

  return run(spec.name, plan, true, spec.cgroup);
}

Result<ChildProcess> ChildProcess::start(HelperSpec& spec) {
  const UniqueFd program(::open(spec.arguments.front().c_str(), O_PATH | O_CLOEXEC));
  if (!program) return ipc::system_failure("open");
  const std::vector<char*> arguments = pointers_to(spec.arguments);
  jail::Plan plan{
      .null = -1,
      .log = spec.log != nullptr ? spec.log->get() : STDERR_FILENO,
      .control = spec.socket.get(),
      .program = program.get(),
      .report = -1,
      .arguments = arguments.data(),
      .identity = {},
      .uid_map = {},
      .gid_map = {},
      .limits = {},
      .dies_with_parent = spec.dies_with_us,
      .folder = spec.folder != nullptr ? spec.folder->get() : -1,
  };
  return run(spec.arguments.front(), plan, false, spec.cgroup);
}

Result<ChildProcess> ChildProcess::run(const std::string& name, jail::Plan& plan, bool jailed, const UniqueFd* cgroup) {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return ipc::system_failure("open /dev/null");
  Pipe report = TRY(make_pipe());
  plan.null = null.get();
  if (plan.control < 0) plan.control = null.get();
  plan.report = report.write_end.get();
  int pidfd = -1;
  const pid_t pid = TRY(clone_child(plan, jailed, cgroup, pidfd));
  ChildProcess child(name, pid, UniqueFd(pidfd), jailed);
  report.write_end = UniqueFd();
  TRY(read_report(report.read_end));
  return child;
}

Result<ChildProcess> spawn(ChildSpec spec) {
  Result<ChildProcess> child = ChildProcess::start(spec);
  if (!child) child.error().context = fmt::format("spawn {}: {}", spec.name, child.error().context);
  return child;
}

Result<ChildProcess> start_helper(HelperSpec spec) {
  Result<ChildProcess> child = ChildProcess::start(spec);
  if (!child) child.error().context = fmt::format("start {}: {}", spec.arguments.front(), child.error().context);
  return child;
}

}  // namespace sandbox
