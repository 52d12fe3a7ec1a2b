// Which system call a process was killed for by its filter.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sandbox {

// What violation_of() tells beside the number of an x86-64 call.
inline constexpr int kUnknownCall = -1;
inline constexpr int kOtherArchitecture = -2;  // x32, or 32 bits

// Of `pid`, which SIGSYS has killed after `started_us` (CLOCK_MONOTONIC). It is unknown where the kernel's log, to
// which audit writes it, is another daemon's, leaves records out, or is not ours to read (CAP_SYSLOG). Takes 100 ms at
// most.
int violation_of(pid_t pid, std::uint64_t started_us);

// The same, of one record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg). Nothing: it tells of something else.
std::optional<int> violation_in(std::string_view record, pid_t pid, std::uint64_t started_us);

// "ptrace", "number 1000", "a call of another architecture".
std::string name_of_call(int call);

}  // namespace sandbox
