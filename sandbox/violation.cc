#include "sandbox/violation.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <poll.h>
#include <seccomp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace sandbox {
namespace {

using Time = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{100};  // audit hands its records to the log by a thread of its own
constexpr std::uint64_t kSlackUs = 1'000'000;        // the log's clock is not quite CLOCK_MONOTONIC

struct FreeText {
  void operator()(char* text) const { std::free(text); }
};

// The number that follows `key`.
std::optional<std::uint64_t> number_after(std::string_view record, std::string_view key, int base) {
  const std::size_t at = record.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = record.substr(at + key.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace

// "priority,sequence,microseconds,flags;text". The text is audit's: what a process may choose of it, its name, is in
// quotes without blanks.
std::optional<int> violation_in(std::string_view record, pid_t pid, std::uint64_t started_us) {
  const std::size_t head = std::min(record.find(';'), record.size());
  const std::string_view text = record.substr(head);
  std::string_view fields = record.substr(0, head);
  for (int skipped = 0; skipped < 2; ++skipped) fields.remove_prefix(std::min(fields.find(',') + 1, fields.size()));
  const auto time = number_after(fields, "", 10);
  if (!time || *time < started_us - std::min(started_us, kSlackUs)) return std::nullopt;
  if (text.find("type=1326 ") == std::string_view::npos) return std::nullopt;
  if (number_after(text, " pid=", 10) != static_cast<std::uint64_t>(pid)) return std::nullopt;
  const auto architecture = number_after(text, " arch=", 16);
  const auto number = number_after(text, " syscall=", 10);
  if (!architecture || !number) return std::nullopt;
  constexpr std::uint64_t kX32 = 0x40000000;
  return *architecture == AUDIT_ARCH_X86_64 && *number < kX32 ? static_cast<int>(*number) : kOtherArchitecture;
}

int violation_of(pid_t pid, std::uint64_t started_us) {
  const ipc::UniqueFd log(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!log) return kUnknownCall;
  std::array<char, 8192> record;  // CONSOLE_EXT_LOG_MAX: the longest there is
  const auto end = Time::now() + kPatience;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Time::now()).count();
    if (left <= 0) return kUnknownCall;  // however many others the log has
    const ssize_t size = ::read(log.get(), record.data(), record.size());
    if (size > 0) {
      const auto call = violation_in({record.data(), static_cast<std::size_t>(size)}, pid, started_us);
      if (call) return *call;
    } else if (errno == EAGAIN) {
      pollfd more{.fd = log.get(), .events = POLLIN, .revents = 0};
      ::poll(&more, 1, static_cast<int>(left));
    } else if (errno != EPIPE && errno != EINTR) {  // EPIPE: overtaken by newer records
      return kUnknownCall;
    }
  }
}

std::string name_of_call(int call) {
  if (call == kOtherArchitecture) return "a call of another architecture";
  const std::unique_ptr<char, FreeText> name(::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, call));
  return name ? name.get() : fmt::format("number {}", call);
}

}  // namespace sandbox
