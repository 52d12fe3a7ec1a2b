// A seccomp filter carried out in user space, so that millions of calls can be asked about: what classic BPF the kernel
// takes for one (seccomp_check_filter(): 32-bit loads of struct seccomp_data, jumps, arithmetic, return). Header-only;
// asserts nothing.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace support {

// What the filter returns for a call; 0 (SECCOMP_RET_KILL_THREAD) for a program that is none.
inline std::uint32_t run_filter(std::span<const sock_filter> program, const seccomp_data& call) {
  std::uint32_t a = 0;
  std::uint32_t x = 0;
  std::array<std::uint32_t, BPF_MEMWORDS> memory{};
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    const std::uint32_t operand = BPF_SRC(step.code) == BPF_X ? x : step.k;
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (step.k > sizeof call - sizeof a) return 0;
        std::memcpy(&a, reinterpret_cast<const std::byte*>(&call) + step.k, sizeof a);
        break;
      case BPF_LD | BPF_IMM:
        a = step.k;
        break;
      case BPF_LD | BPF_MEM:
        a = memory.at(step.k);
        break;
      case BPF_ST:
        memory.at(step.k) = a;
        break;
      case BPF_MISC | BPF_TAX:
        x = a;
        break;
      case BPF_MISC | BPF_TXA:
        a = x;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
      case BPF_ALU | BPF_AND | BPF_X:
        a &= operand;
        break;
      case BPF_JMP | BPF_JA:
        at += step.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
      case BPF_JMP | BPF_JEQ | BPF_X:
        at += a == operand ? step.jt : step.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
      case BPF_JMP | BPF_JGT | BPF_X:
        at += a > operand ? step.jt : step.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
      case BPF_JMP | BPF_JGE | BPF_X:
        at += a >= operand ? step.jt : step.jf;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
      case BPF_JMP | BPF_JSET | BPF_X:
        at += (a & operand) != 0 ? step.jt : step.jf;
        break;
      case BPF_RET | BPF_K:
        return step.k;
      case BPF_RET | BPF_A:
        return a;
      default:
        return 0;
    }
  }
  return 0;
}

inline bool lets_through(std::span<const sock_filter> program, std::uint32_t number,
                         const std::array<std::uint64_t, 6>& arguments) {
  seccomp_data call{.nr = static_cast<int>(number), .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0, .args = {}};
  for (std::size_t i = 0; i < arguments.size(); ++i) call.args[i] = arguments[i];
  return run_filter(program, call) == SECCOMP_RET_ALLOW;
}

}  // namespace support
