#include "monitor/cli/filters.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <tuple>

namespace cli {
namespace {

using ipc::Result;

constexpr std::chrono::seconds kPatience{1};
constexpr int kCalls = 1024;  // beyond the numbers of any Linux
constexpr std::uint32_t kX32 = 0x40000000;
constexpr auto kGetFilter = static_cast<__ptrace_request>(0x420c);  // PTRACE_SECCOMP_GET_FILTER, Linux 4.4

// Held still from here to the end of the scope.
class Stopped {
 public:
  static Result<Stopped> stop(pid_t thread) {
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) return ipc::system_failure("trace");
    Stopped stopped(thread);
    if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) return ipc::system_failure("stop");
    // One that waits for a disk that does not answer stops when it has.
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (true) {
      const pid_t waited = ::waitpid(thread, nullptr, __WALL | WNOHANG);
      if (waited == thread) return stopped;
      if (waited < 0) return ipc::system_failure("stop");
      if (std::chrono::steady_clock::now() >= end) return ipc::failure(ETIMEDOUT, "stop");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  Stopped(Stopped&& other) noexcept : thread_(std::exchange(other.thread_, 0)) {}
  Stopped& operator=(Stopped&&) = delete;
  ~Stopped() {
    if (thread_ != 0) ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);  // or it is let go when we end
  }

 private:
  explicit Stopped(pid_t thread) : thread_(thread) {}
  pid_t thread_;
};

// The accumulator, as far as the call's number and architecture determine it.
using Known = std::optional<std::uint32_t>;

// Classic BPF of a seccomp filter: arguments are unknown, so that of a comparison with one both ways are gone.
class Walk {
 public:
  Walk(const Filter& filter, std::uint32_t architecture, std::uint32_t call)
      : filter_(filter), architecture_(architecture), call_(call) {}
  bool passes() { return from(0, std::nullopt); }

 private:
  bool from(std::size_t at, Known a) {
    for (; at < filter_.size(); ++at) {
      if (!seen_.emplace(at, a).second) return false;  // nothing else comes of it
      const sock_filter& step = filter_[at];
      switch (BPF_CLASS(step.code)) {
        case BPF_LD:
          a = load(step);
          break;
        case BPF_ALU:
          a = a && step.code == (BPF_ALU | BPF_AND | BPF_K) ? Known(*a & step.k) : std::nullopt;
          break;
        case BPF_MISC:
          if (BPF_MISCOP(step.code) == BPF_TXA) a = std::nullopt;
          break;
        case BPF_JMP: {
          if (BPF_OP(step.code) == BPF_JA) {
            at += step.k;
            break;
          }
          const std::optional<bool> taken =
              a && BPF_SRC(step.code) == BPF_K ? std::optional(compare(step, *a)) : std::nullopt;
          if (!taken && from(at + 1 + step.jt, a)) return true;
          at += taken.value_or(false) ? step.jt : step.jf;
          break;
        }
        case BPF_RET:
          return lets_through(step);
        default:  // what stores changes no accumulator
          break;
      }
    }
    return false;
  }
  Known load(const sock_filter& step) const {
    if (step.code == (BPF_LD | BPF_IMM)) return step.k;
    if (step.code != (BPF_LD | BPF_W | BPF_ABS)) return std::nullopt;
    if (step.k == offsetof(seccomp_data, nr)) return call_;
    if (step.k == offsetof(seccomp_data, arch)) return architecture_;
    return std::nullopt;
  }
  static bool compare(const sock_filter& step, std::uint32_t a) {
    switch (BPF_OP(step.code)) {
      case BPF_JEQ:
        return a == step.k;
      case BPF_JGT:
        return a > step.k;
      case BPF_JGE:
        return a >= step.k;
      default:
        return (a & step.k) != 0;
    }
  }
  static bool lets_through(const sock_filter& step) {
    if (BPF_RVAL(step.code) != BPF_K) return true;  // it may
    switch (step.k & SECCOMP_RET_ACTION_FULL) {
      case SECCOMP_RET_KILL_PROCESS:
      case SECCOMP_RET_KILL_THREAD:
      case SECCOMP_RET_TRAP:
      case SECCOMP_RET_ERRNO:
        return false;
      default:
        return true;
    }
  }

  const Filter& filter_;
  const std::uint32_t architecture_;
  const std::uint32_t call_;
  std::set<std::tuple<std::size_t, Known>> seen_;
};

bool pass_all(std::span<const Filter> filters, std::uint32_t architecture, std::uint32_t call) {
  return std::ranges::all_of(filters, [&](const Filter& filter) { return Walk(filter, architecture, call).passes(); });
}

}  // namespace

Result<std::vector<Filter>> filters_of(pid_t thread) {
  const Stopped stopped = TRY(Stopped::stop(thread));
  std::vector<Filter> filters;
  while (true) {
    const auto index = reinterpret_cast<void*>(filters.size());
    const long length = ::ptrace(kGetFilter, thread, index, nullptr);
    if (length < 0 && errno == ENOENT) return filters;
    if (length < 0) return ipc::system_failure("read a filter");
    Filter filter(static_cast<std::size_t>(length));
    if (::ptrace(kGetFilter, thread, index, filter.data()) != length) return ipc::system_failure("read a filter");
    filters.push_back(std::move(filter));
  }
}

Passing passing(std::span<const Filter> filters) {
  Passing all;
  for (int call = 0; call < kCalls; ++call) {
    const auto number = static_cast<std::uint32_t>(call);
    if (pass_all(filters, AUDIT_ARCH_X86_64, number)) all.calls.insert(call);
    all.foreign = all.foreign || pass_all(filters, AUDIT_ARCH_X86_64, number | kX32) ||
                  pass_all(filters, AUDIT_ARCH_I386, number);
  }
  return all;
}

}  // namespace cli
