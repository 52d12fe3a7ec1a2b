// A thread of another process is made to make one system call, as who has taken it over would make it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <iosfwd>
#include <vector>

namespace support {

struct Call {
  enum class Gate : std::uint8_t { Syscall, Int80 };

  std::uint64_t number = 0;
  std::array<std::uint64_t, 6> arguments = {};
  Gate gate = Gate::Syscall;
};
std::ostream& operator<<(std::ostream& out, const Call& call);  // "openat(0, 0, 0, 0, 0, 0)"

// What the kernel made of it.
struct Fate {
  enum class Kind : std::uint8_t {
    Killed,    // by the signal `value`
    Exited,    // with the status `value`
    Returned,  // `value`
    Waits,     // for longer than a test does
  } kind;
  std::int64_t value = 0;
  bool operator==(const Fate&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Fate& fate);

// Of a call that its filter kills for.
extern const Fate kKilledForIt;

// A thread that lives on goes on where it was, with what it was at, as if nothing had been. Throws where it cannot be
// traced: it takes CAP_SYS_PTRACE, as a sealed process is not dumpable, and nobody else may trace it.
Fate hijack(pid_t thread, const Call& call);

// The process's threads that run its program, and not the kernel in its name; the main thread is the first.
std::vector<pid_t> threads_of(pid_t process);

}  // namespace support
