// The compiled filters, as the kernel enforces them: one forked process for each call that is tried.
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "tests/support/calls.h"
#include "tests/support/catch.h"
#include "tests/support/policies.h"
#include "tests/support/verdict.h"

using sandbox::Condition;
using sandbox::Filter;
using sandbox::Rule;
using sandbox::Slots;
using support::killed_by;
using support::kLastCall;
using support::kPolicies;
using support::kProbes;
using support::kX32;

namespace {

#ifdef BULKHEAD_SANITIZED
#define NEEDS_FILTERS SKIP_TEST("sanitizers make calls that no policy lists: no filter in this build")
#else
#define NEEDS_FILTERS static_cast<void>(0)
#endif

using Arguments = std::array<std::uint64_t, 6>;
// Wrong for every call that has arguments: none blocks or does anything.
constexpr Arguments kNonsense = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};

// Should a filter let a call through that it must not, then it is an ordinary user's.
void give_up_rights() {
  if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

// The signal that ends a process which makes this call inside the filter; SIGTRAP: the call was let through.
// A breakpoint, as not every table lets a process exit.
int verdict(const Filter& filter, long number, const Arguments& a) {
  return killed_by([&] {
    give_up_rights();
    if (!filter.enter()) ::_exit(0);
    ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    asm volatile("int3");
  });
}

bool listed(sandbox::Policy policy, long number) {
  return std::ranges::any_of(policy, [&](const Rule& rule) { return rule.syscall == number; });
}

std::uint64_t wanted(const Condition& condition, std::uint64_t otherwise, const Slots& slots) {
  if (condition.kind == Condition::Kind::Descriptor)
    return static_cast<std::uint64_t>(slots.number(condition.slot).value());
  return (otherwise & ~condition.mask) | condition.value;
}

Arguments satisfying(const Rule& rule, const Slots& slots) {
  Arguments arguments = kNonsense;
  for (const Condition& condition : rule.conditions)
    if (condition.kind != Condition::Kind::None) arguments[condition.argument] = wanted(condition, ~0ull, slots);
  return arguments;
}

}  // namespace

SCENARIO("filter: every call that its table does not list kills the process", "[filter]") {
  NEEDS_FILTERS;
  const auto policy = GENERATE(from_range(kPolicies));
  const Filter filter = Filter::compile(policy.rules, support::all_slots()).value();
  for (long number = 0; number <= kLastCall; ++number) {
    if (listed(policy.rules, number) || std::ranges::find(kProbes, number) != std::end(kProbes)) continue;
    INFO(policy.name << ", call " << number);
    CHECK(verdict(filter, number, {}) == SIGSYS);
  }
}

SCENARIO("filter: the calls that no filter sees are refused by themselves", "[filter]") {
  NEEDS_FILTERS;
  const Filter filter = Filter::compile(sandbox::kVcpuPolicy, support::all_slots()).value();
  for (const long number : kProbes) {
    const int signal = killed_by([&] {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      if (!filter.enter()) ::raise(SIGUSR1);
      if (::syscall(number) != -1) asm volatile("int3");  // SIGTRAP: it did something
      ::syscall(SYS_exit_group, 0);
    });
    INFO("call " << number);
    CHECK((signal == 0 || signal == SIGSYS || signal == SIGILL));
  }
}

SCENARIO("filter: every x32 call kills the process, listed or not", "[filter]") {
  NEEDS_FILTERS;
  const auto policy = GENERATE(from_range(kPolicies));
  const Filter filter = Filter::compile(policy.rules, support::all_slots()).value();
  for (long number = 0; number <= kLastCall; ++number) {
    INFO(policy.name << ", x32 call " << number);
    CHECK(verdict(filter, kX32 | number, {}) == SIGSYS);
  }
}

SCENARIO("filter: a call by int 0x80 kills the process", "[filter]") {
  NEEDS_FILTERS;
  // 1 is exit, 20 is getpid; 4, 6, 91 and 252 are numbers that have another meaning in our tables.
  if (!support::has_int80()) SKIP_TEST("this kernel has no 32-bit calls");
  const auto policy = GENERATE(from_range(kPolicies));
  const Filter filter = Filter::compile(policy.rules, support::all_slots()).value();
  for (const std::uint32_t number : {1u, 4u, 6u, 20u, 91u, 202u, 231u, 252u}) {
    INFO(policy.name << ", 32-bit call " << number);
    CHECK(killed_by([&] {
            give_up_rights();
            if (!filter.enter()) ::_exit(0);
            support::call_by_int80(number);
            ::syscall(SYS_exit_group, 0);
          }) == SIGSYS);
  }
}

SCENARIO("filter: what a row lists is let through", "[filter]") {
  NEEDS_FILTERS;
  const auto policy = GENERATE(from_range(kPolicies));
  const Slots slots = support::all_slots();
  const Filter filter = Filter::compile(policy.rules, slots).value();
  for (const Rule& rule : policy.rules) {
    INFO(policy.name << ", call " << rule.syscall << ": " << rule.why);
    const int signal = verdict(filter, rule.syscall, satisfying(rule, slots));
    switch (rule.syscall) {
      case SYS_exit:  // of the only thread
      case SYS_exit_group:
        CHECK(signal == 0);
        break;
      case SYS_rt_sigreturn:  // from a signal that never came: it restores nonsense, and dies of it
        CHECK(signal == SIGSEGV);
        break;
      default:
        CHECK(signal == SIGTRAP);
    }
  }
}

SCENARIO("filter: a row's call with any one of its conditions broken kills the process", "[filter]") {
  NEEDS_FILTERS;
  const auto policy = GENERATE(from_range(kPolicies));
  const Slots slots = support::all_slots();
  const Filter filter = Filter::compile(policy.rules, slots).value();
  for (const Rule& rule : policy.rules) {
    for (const Condition& condition : rule.conditions) {
      if (condition.kind == Condition::Kind::None) continue;
      INFO(policy.name << ", call " << rule.syscall << ": " << rule.why << ", argument " << int{condition.argument});
      const std::uint64_t mask = condition.kind == Condition::Kind::Descriptor ? 0xffffffff : condition.mask;
      for (int bit = 0; bit < 64; ++bit) {
        if ((mask >> bit & 1) == 0) continue;
        Arguments arguments = satisfying(rule, slots);
        arguments[condition.argument] ^= 1ull << bit;
        // Unless one flipped bit makes it what another row of this call lists.
        const bool other_row = std::ranges::any_of(policy.rules, [&](const Rule& other) {
          return other.syscall == rule.syscall && std::ranges::all_of(other.conditions, [&](const Condition& c) {
                   if (c.kind == Condition::Kind::None) return true;
                   const std::uint64_t bits = c.kind == Condition::Kind::Descriptor ? 0xffffffff : c.mask;
                   return ((arguments[c.argument] ^ wanted(c, 0, slots)) & bits) == 0;
                 });
        });
        if (!other_row) CHECK(verdict(filter, rule.syscall, arguments) == SIGSYS);
      }
    }
  }
}

SCENARIO("filter: it cannot be entered without no_new_privs by an ordinary user", "[filter]") {
  NEEDS_FILTERS;
  const Filter filter = Filter::compile(sandbox::kVcpuPolicy, support::all_slots()).value();
  CHECK(killed_by([&] {
          if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return;
          if (const auto entered = filter.enter(); !entered && entered.error().code == EACCES) ::raise(SIGUSR1);
        }) == SIGUSR1);
}
