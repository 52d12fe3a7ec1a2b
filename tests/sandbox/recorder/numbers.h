// What a program that records tells the recorder by SECCOMP_RET_TRACE: 16 bits, and the call itself.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

namespace recorder {

constexpr std::uint32_t kMostRows = 64;  // of one policy

// A call that no kernel has, with an operation that is about to be submitted to an io_uring.
constexpr int kOperation = SYS_vserver;

constexpr std::uint32_t number(std::uint32_t policy, std::uint32_t row) {
  return policy * kMostRows + row;
}

}  // namespace recorder
