#include "sandbox/violation.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <poll.h>
#include <seccomp.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace sandbox {
namespace {

constexpr int kPatienceMs = 100;               // audit hands its records to the log by a thread of its own
constexpr std::uint64_t kSlackUs = 1'000'000;  // the log's clock is not quite CLOCK_MONOTONIC
constexpr int kMostRecords = 100'000;          // more than a kernel's log has

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

// Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;text". The text is audit's: what a process
// may choose of it, its name, is in quotes without blanks.
std::optional<int> call_in(std::string_view record, pid_t pid, std::uint64_t started_us) {
  const std::size_t text = record.find(';');
  if (text == std::string_view::npos || record.find("type=1326 ", text) == std::string_view::npos) return std::nullopt;
  const std::size_t sequence = record.find(',') + 1;
  const auto time = number_after(record.substr(record.find(',', sequence)), ",", 10);
  if (!time || *time + kSlackUs < started_us) return std::nullopt;
  if (number_after(record, " pid=", 10) != static_cast<std::uint64_t>(pid)) return std::nullopt;
  const auto architecture = number_after(record, " arch=", 16);
  const auto number = number_after(record, " syscall=", 10);
  if (!architecture || !number) return std::nullopt;
  constexpr std::uint64_t kX32 = 0x40000000;
  return *architecture == AUDIT_ARCH_X86_64 && *number < kX32 ? static_cast<int>(*number) : kOtherArchitecture;
}

}  // namespace

int violation_of(pid_t pid, std::uint64_t started_us) {
  const ipc::UniqueFd log(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!log) return kUnknownCall;
  std::array<char, 8192> record;  // CONSOLE_EXT_LOG_MAX: the longest there is
  for (int i = 0; i < kMostRecords; ++i) {
    const ssize_t size = ::read(log.get(), record.data(), record.size());
    if (size > 0) {
      if (auto call = call_in({record.data(), static_cast<std::size_t>(size)}, pid, started_us)) return *call;
    } else if (errno == EAGAIN) {
      pollfd more{.fd = log.get(), .events = POLLIN, .revents = 0};
      if (::poll(&more, 1, kPatienceMs) != 1) return kUnknownCall;
    } else if (errno != EPIPE && errno != EINTR) {  // EPIPE: overtaken by newer records
      return kUnknownCall;
    }
  }
  return kUnknownCall;
}

std::string name_of_call(int call) {
  if (call == kOtherArchitecture) return "a call of another architecture";
  const std::unique_ptr<char, FreeText> name(::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, call));
  return name ? name.get() : fmt::format("number {}", call);
}

}  // namespace sandbox
