// A process's system calls as a table: a reason on every row, everything else kills the process.
#pragma once

#include <linux/filter.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace sandbox {

// Descriptors whose numbers a policy pins, known only when the process has set itself up.
enum class Slot : std::uint8_t {
  Log,
  Control,
  Ring,
  Vm,
  Vcpu,
  ExitEvent,
  Listener,
  Directory,
  Image,
  Unaligned,
  Events,
  ControlListener,
};
inline constexpr std::size_t kSlots = 12;

// One thing that must hold of one argument (0 to 5): (argument & mask) == value, or == the slot's
// number. At most one condition for each argument of a rule.
struct Condition {
  enum class Kind : std::uint8_t { None, Masked, Descriptor };
  Kind kind = Kind::None;
  std::uint8_t argument = 0;
  Slot slot{};
  std::uint64_t mask = 0;
  std::uint64_t value = 0;
};

// For arguments that the kernel takes as 32 bits: requests, commands, operations.
constexpr Condition equals(std::uint8_t argument, std::uint32_t value) {
  return {.kind = Condition::Kind::Masked, .argument = argument, .mask = 0xffffffff, .value = value};
}
constexpr Condition masked(std::uint8_t argument, std::uint64_t mask, std::uint64_t value) {
  return {.kind = Condition::Kind::Masked, .argument = argument, .mask = mask, .value = value};
}
constexpr Condition forbids(std::uint8_t argument, std::uint64_t bits) {
  return masked(argument, bits, 0);
}
constexpr Condition on(Slot slot, std::uint8_t argument = 0) {
  return {.kind = Condition::Kind::Descriptor, .argument = argument, .slot = slot};
}

// Allows a call of which all conditions hold. Several rules for one call are alternatives.
struct Rule {
  int syscall;
  std::string_view why;
  std::array<Condition, 4> conditions = {};
};

using Policy = std::span<const Rule>;

// The numbers behind a policy's slots. Log and Control are where every child has them.
class Slots {
 public:
  Slots();
  Slots& set(Slot slot, const ipc::UniqueFd& descriptor);  // must be open
  std::optional<int> number(Slot slot) const;

 private:
  std::array<int, kSlots> numbers_;
};

// A compiled policy for this machine's x86-64 calls. x32 and 32-bit calls kill, like all that is not listed.
class Filter {
 public:
  // EINVAL, with the row, when a slot is not set or a rule is malformed.
  static ipc::Result<Filter> compile(Policy policy, const Slots& slots);
  // Not a policy: allows this machine's x86-64 calls but `calls`, which fail with EPERM. Others kill as above.
  static ipc::Result<Filter> refusing(std::span<const int> calls);

  // From now on the calling thread, and threads and processes that it starts, have this filter, on top
  // of those that it had. Allocates nothing and makes one system call, seccomp(2): a vCPU thread can
  // enter a filter that the main thread compiled. The thread must have no_new_privs (spawn() sets it).
  ipc::Result<> enter() const;

  std::span<const sock_filter> instructions() const { return program_; }

 private:
  explicit Filter(std::vector<sock_filter> program) : program_(std::move(program)) {}
  std::vector<sock_filter> program_;
};

// compile() and enter() for a process with one thread.
ipc::Result<> enter_filter(Policy policy, const Slots& slots);

}  // namespace sandbox
