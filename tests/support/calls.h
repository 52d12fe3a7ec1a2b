// System calls by number, and other ways to make them. Header-only; asserts nothing.
#pragma once

#include <array>
#include <cstdint>

#include "tests/support/verdict.h"

namespace support {

inline constexpr long kLastCall = 480;  // beyond those of any Linux there is
inline constexpr long kX32 = 0x40000000;

// uretprobe(2) and uprobe(2): since Linux 6.14 and 6.18 no filter is asked about them. They are for the
// kernel's own trampolines, and refuse a call from anywhere else.
inline constexpr std::array<long, 2> kProbes = {335, 336};

inline void call_by_int80(std::uint32_t number) {
  std::uint32_t result = number;
  asm volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
}

// Has this kernel 32-bit calls? Otherwise each ends like any interrupt that a program must not make.
inline bool has_int80() {
  constexpr std::uint32_t kGetpid = 20;
  return killed_by([] { call_by_int80(kGetpid); }) == 0;
}

}  // namespace support
