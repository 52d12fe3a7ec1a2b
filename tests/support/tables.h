// The rows of policies as text, for people and for golden files. Header-only; asserts nothing.
#pragma once

#include <fmt/format.h>
#include <seccomp.h>

#include <array>
#include <cstdlib>
#include <string>

#include "sandbox/seccomp.h"

namespace support {

inline constexpr std::array kSlotNames = {"Log",      "Control",   "Ring",  "Vm",        "Vcpu",   "ExitEvent",
                                          "Listener", "Directory", "Image", "Unaligned", "Events", "ControlListener"};
static_assert(kSlotNames.size() == sandbox::kSlots);

// "ioctl 0=Vcpu 1&ffffffff=ae80"
inline std::string describe(const sandbox::Rule& rule) {
  using sandbox::Condition;
  char* const name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, rule.syscall);
  std::string text = name != nullptr ? name : std::to_string(rule.syscall);
  std::free(name);
  for (const Condition& condition : rule.conditions) {
    if (condition.kind == Condition::Kind::Descriptor)
      text += fmt::format(" {}={}", condition.argument, kSlotNames[static_cast<std::size_t>(condition.slot)]);
    if (condition.kind == Condition::Kind::Masked)
      text += fmt::format(" {}&{:x}={:x}", condition.argument, condition.mask, condition.value);
  }
  return text;
}

}  // namespace support
