#include "tests/sandbox/hijack/attack.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <sstream>
#include <thread>

#include "sandbox/linux_kvm.h"
#include "sandbox/violation.h"
#include "tests/support/calls.h"

#ifndef MADV_MERGEABLE
#define MADV_MERGEABLE 12
#endif

namespace hijacked {
namespace {

using support::kKilledForIt;
using support::kX32;

constexpr std::uint64_t kHere = static_cast<std::uint64_t>(AT_FDCWD);

// Should one be let through, it does no harm: what it takes is not there.
const Call kWanted[] = {
    {SYS_open},
    {SYS_openat, {kHere}},
    {SYS_openat2, {kHere}},
    {SYS_ftruncate, {kNone}},
    {SYS_mount},
    // others, by a name or a number
    {SYS_connect, {kNone}},
    {SYS_bind, {kNone}},
    {SYS_kill},
    {SYS_tgkill},
    {SYS_pidfd_send_signal, {kNone}},
    {SYS_pidfd_getfd, {kNone}},
    {SYS_ptrace, {kNone}},
    {SYS_process_vm_writev},
    // new processes, or another self
    {SYS_fork},
    {SYS_clone, {SIGCHLD}},
    {SYS_clone3},
    {SYS_execve},
    {SYS_unshare, {CLONE_NEWUSER}},
    {SYS_setns, {kNone}},
    {SYS_setresuid, {kNone, kNone, kNone}},
    {SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {SYS_seccomp},
    {SYS_rt_sigaction, {SIGSYS}},
    // much of the kernel's code, often broken
    {SYS_bpf, {kNone}},
    {SYS_io_uring_setup},
    {SYS_userfaultfd, {kNone}},
    {SYS_perf_event_open, {0, 0, kNone, kNone}},
    // code of one's own
    {SYS_mprotect, {0, 0, PROT_READ | PROT_EXEC}},
    {SYS_pkey_mprotect, {0, 0, PROT_READ | PROT_EXEC}},
};

// Calls that tables have, but not so.
const Call kOtherwise[] = {
    {SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, kNone}},
    {SYS_socket, {AF_INET, SOCK_STREAM}},
    {SYS_fcntl, {2, F_SETOWN, 1}},             // have signals sent
    {SYS_fcntl, {2, F_DUPFD, 0}},              // have a number that a table pins
    {SYS_madvise, {0, 4096, MADV_MERGEABLE}},  // share pages with others
    {SYS_prlimit64, {0, RLIMIT_NPROC}},
    {SYS_io_uring_enter, {2}},
    {SYS_io_uring_register, {2}},
};

constexpr std::uint64_t kByX32[] = {SYS_write, SYS_execve, SYS_exit_group};
// Of 32 bits, where our tables have others: write, close, execve, mmap, clone.
constexpr std::uint64_t kByInt80[] = {4, 6, 11, 90, 120};

constexpr int kThreads = 4;

Call by_int80(std::uint64_t number) {
  return {.number = number, .arguments = {}, .gate = Call::Gate::Int80};
}

std::uint64_t request_on(const std::string& file) {
  if (file.ends_with("kvm-vm")) return KVM_CREATE_VCPU;
  if (file.find("kvm-vcpu") != std::string::npos) return KVM_SET_REGS;
  return FIONBIO;  // it is shared: who has it at its other end would wait
}

}  // namespace

std::vector<Call> unlisted(const std::set<long>& listed) {
  std::vector<Call> calls;
  for (long number = 0; number <= support::kLastCall; ++number)
    if (!listed.contains(number) && std::ranges::find(support::kProbes, number) == support::kProbes.end())
      calls.push_back({static_cast<std::uint64_t>(number)});
  return calls;
}

std::vector<Call> foreign() {
  std::vector<Call> calls;
  const bool int80 = support::has_int80();
  for (std::uint64_t number = 0; number <= support::kLastCall; ++number) {
    calls.push_back({kX32 | number});
    if (int80) calls.push_back(by_int80(number));
  }
  return calls;
}

std::vector<Call> wanted(const std::set<long>& listed) {
  std::vector<Call> calls;
  std::ranges::copy_if(kWanted, std::back_inserter(calls),
                       [&](const Call& call) { return !listed.contains(static_cast<long>(call.number)); });
  std::ranges::copy(kOtherwise, std::back_inserter(calls));
  for (const std::uint64_t number : kByX32) calls.push_back({kX32 | number});
  if (support::has_int80()) std::ranges::transform(kByInt80, std::back_inserter(calls), by_int80);
  return calls;
}

std::map<std::uint64_t, std::string> descriptors_of(pid_t process) {
  std::map<std::uint64_t, std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd"))
    all.emplace(std::stoul(entry.path().filename()), read_symlink(entry));
  return all;
}

std::vector<Call> requests(pid_t process) {
  std::vector<Call> calls;
  for (const auto& [fd, file] : descriptors_of(process)) calls.push_back({SYS_ioctl, {fd, request_on(file)}});
  return calls;
}

std::string name_of(const Call& call) {
  const bool ours = call.gate == Call::Gate::Syscall && call.number < kX32;
  return sandbox::name_of_call(ours ? static_cast<int>(call.number) : sandbox::kOtherArchitecture);
}

std::string complaint(const Call& call, const support::Fate& fate) {
  if (fate == kKilledForIt) return {};
  std::ostringstream text;
  text << call << ": " << fate;
  return text.str();
}

std::vector<std::string> complaints(const std::vector<Call>& calls,
                                    const std::function<std::string(const Call&)>& attack) {
  std::vector<std::string> all;
  std::mutex lock;
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < calls.size(); at = next++) {
        std::string wrong;
        try {
          wrong = attack(calls[at]);
        } catch (const std::exception& error) {
          std::ostringstream text;
          text << calls[at] << ": " << error.what();
          wrong = text.str();
        }
        if (wrong.empty()) continue;
        const std::lock_guard held(lock);
        all.push_back(std::move(wrong));
      }
    });
  threads.clear();
  return all;
}

std::string out_of_reach() {
#ifdef BULKHEAD_SANITIZED
  return "in a build with sanitizers nobody is sealed";
#else
  return ::geteuid() == 0 ? "" : "only root may trace who is sealed";
#endif
}

}  // namespace hijacked
