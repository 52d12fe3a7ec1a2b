#include "tests/support/hijack.h"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "sandbox/violation.h"
#include "tests/support/calls.h"

namespace support {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{3};
constexpr int kInterrupted = SIGTRAP | PTRACE_EVENT_STOP << 8;
constexpr std::uint64_t kCodeBytes = 3;

// The call, and a breakpoint where it returns to.
constexpr std::uint64_t code_of(Call::Gate gate) {
  return gate == Call::Gate::Syscall ? 0xcc'05'0f : 0xcc'80'cd;  // syscall; int3 or int $0x80; int3
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::string proc(pid_t thread, const char* file) {
  return "/proc/" + std::to_string(thread) + "/" + file;
}

// Where code can be written: the header of its vDSO, which is executable and which nobody executes. Other threads may
// run any code of the program meanwhile.
std::uint64_t place_for_code(pid_t thread) {
  std::ifstream file(proc(thread, "auxv"), std::ios::binary);
  for (Elf64_auxv_t entry{}; file.read(reinterpret_cast<char*>(&entry), sizeof entry);)
    if (entry.a_type == AT_SYSINFO_EHDR) return entry.a_un.a_val;
  throw std::runtime_error("a process without a vDSO");
}

user_regs_struct registers_for(const Call& call, user_regs_struct registers, std::uint64_t place) {
  const auto& a = call.arguments;
  registers.rip = place;
  registers.rax = call.number;
  registers.orig_rax = ~0ull;  // it is in no call any more that would be made again
  if (call.gate == Call::Gate::Syscall) {
    registers.rdi = a[0], registers.rsi = a[1], registers.rdx = a[2];
    registers.r10 = a[3], registers.r8 = a[4], registers.r9 = a[5];
  } else {
    registers.rbx = a[0], registers.rcx = a[1], registers.rdx = a[2];
    registers.rsi = a[3], registers.rdi = a[4], registers.rbp = a[5];
  }
  return registers;
}

// A thread that stands still between calls of ours, from here to the end of the scope.
class Captive {
 public:
  explicit Captive(pid_t thread) : thread_(thread), place_(place_for_code(thread)) {
    siginfo_t info{};
    ours_ = ::waitid(P_PID, id(), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    if (::ptrace(PTRACE_SEIZE, thread_, nullptr, nullptr) != 0) fail("trace");
    interrupt();
    errno = 0;
    word_ = ::ptrace(PTRACE_PEEKTEXT, thread_, place_, nullptr);
    if (errno != 0 || ::ptrace(PTRACE_GETREGS, thread_, nullptr, &registers_) != 0) fail("read a thread");
  }
  Captive(const Captive&) = delete;
  Captive& operator=(const Captive&) = delete;
  ~Captive() {
    if (gone_) return;
    ::ptrace(PTRACE_POKETEXT, thread_, place_, word_);
    ::ptrace(PTRACE_SETREGS, thread_, nullptr, &registers_);
    ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  }

  Fate make(const Call& call) {
    user_regs_struct registers = registers_for(call, registers_, place_);
    const std::uint64_t code =
        (static_cast<std::uint64_t>(word_) >> 8 * kCodeBytes << 8 * kCodeBytes) | code_of(call.gate);
    if (::ptrace(PTRACE_POKETEXT, thread_, place_, code) != 0) fail("write code");
    if (::ptrace(PTRACE_SETREGS, thread_, nullptr, &registers) != 0) fail("write registers");
    for (int signal = 0;;) {
      go_on(signal);
      const auto event = await();
      if (!event) {
        interrupt();
        return {Fate::Kind::Waits};
      }
      if (event->si_code == CLD_EXITED) return {Fate::Kind::Exited, event->si_status};
      if (event->si_code != CLD_TRAPPED) return {Fate::Kind::Killed, event->si_status};
      if (::ptrace(PTRACE_GETREGS, thread_, nullptr, &registers) != 0) fail("read registers");
      if (event->si_status == SIGTRAP && registers.rip == place_ + kCodeBytes)
        return {Fate::Kind::Returned, static_cast<std::int64_t>(registers.rax)};
      signal = event->si_status < NSIG ? event->si_status : 0;  // its own, on its way
    }
  }

 private:
  id_t id() const { return static_cast<id_t>(thread_); }
  void go_on(int signal) const {
    if (::ptrace(PTRACE_CONT, thread_, nullptr, signal) != 0) fail("let a thread go on");
  }

  // A stop, or the end; nothing: neither comes. An end stays for its parent to see if that is us.
  std::optional<siginfo_t> await() {
    for (const auto end = Clock::now() + kPatience; Clock::now() < end;) {
      siginfo_t info{};
      if (::waitid(P_PID, id(), &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) != 0) fail("wait for a thread");
      if (info.si_pid != 0) {
        gone_ = info.si_code != CLD_TRAPPED;
        if (gone_ && !ours_) ::waitid(P_PID, id(), nullptr, WEXITED | __WALL);
        return info;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return std::nullopt;
  }

  void interrupt() {
    if (::ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) != 0) fail("stop a thread");
    while (true) {
      const auto event = await();
      if (!event || gone_) throw std::runtime_error("a thread that does not stop");
      if (event->si_status == kInterrupted) return;
      go_on(event->si_status < NSIG ? event->si_status : 0);
    }
  }

  const pid_t thread_;
  const std::uint64_t place_;
  bool ours_ = false;
  bool gone_ = false;
  long word_ = 0;  // that was there
  user_regs_struct registers_{};
};

std::string name_of(const std::filesystem::path& task) {
  std::ifstream file(task / "comm");
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

const Fate kKilledForIt{Fate::Kind::Killed, SIGSYS};

Fate hijack(pid_t thread, const Call& call) {
  return Captive(thread).make(call);
}

std::vector<pid_t> threads_of(pid_t process) {
  std::vector<pid_t> threads;
  const std::string own = name_of(proc(process, ""));
  for (const auto& task : std::filesystem::directory_iterator(proc(process, "task")))
    if (name_of(task) == own) threads.push_back(std::stoi(task.path().filename()));  // others: io_uring's, KVM's
  std::ranges::sort(threads, [&](pid_t a, pid_t b) { return a != b && (a == process || (b != process && a < b)); });
  return threads;
}

std::ostream& operator<<(std::ostream& out, const Call& call) {
  if (call.gate == Call::Gate::Int80)
    out << "int $0x80: " << call.number;
  else if ((call.number & kX32) != 0)
    out << "x32: " << (call.number ^ kX32);
  else
    out << sandbox::name_of_call(static_cast<int>(call.number));
  char before = '(';
  for (const std::uint64_t argument : call.arguments) {
    out << before << std::hex << std::showbase << argument << std::dec << std::noshowbase;
    before = ',';
  }
  return out << ')';
}

std::ostream& operator<<(std::ostream& out, const Fate& fate) {
  switch (fate.kind) {
    case Fate::Kind::Killed:
      return out << "killed by signal " << fate.value;
    case Fate::Kind::Exited:
      return out << "exited, status " << fate.value;
    case Fate::Kind::Returned:
      return out << "returned " << fate.value;
    case Fate::Kind::Waits:
      return out << "waits";
  }
  return out;
}

}  // namespace support
