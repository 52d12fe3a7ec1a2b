#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "tests/support/catch.h"
#include "tests/support/policies.h"

using sandbox::Condition;
using sandbox::Filter;
using sandbox::Rule;
using sandbox::Slots;
using support::kPolicies;

namespace {

bool unconditional(const Rule& rule) {
  return std::ranges::all_of(rule.conditions, [](const Condition& c) { return c.kind == Condition::Kind::None; });
}

}  // namespace

SCENARIO("policy: every row has its reason", "[policy]") {
  for (const auto& policy : kPolicies)
    for (const Rule& rule : policy.rules) {
      INFO(policy.name << ", call " << rule.syscall);
      CHECK_FALSE(rule.why.empty());
    }
  for (const auto& rule : sandbox::kBlkRingOpcodes) CHECK_FALSE(rule.why.empty());
  for (const auto& rule : sandbox::kNetRingOpcodes) CHECK_FALSE(rule.why.empty());
  for (const auto& rule : sandbox::kRingRegister) CHECK_FALSE(rule.why.empty());
}

SCENARIO("policy: no row repeats another or is swallowed by one without conditions", "[policy]") {
  for (const auto& policy : kPolicies)
    for (std::size_t i = 0; i < policy.rules.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        const Rule& a = policy.rules[i];
        const Rule& b = policy.rules[j];
        if (a.syscall != b.syscall) continue;
        INFO(policy.name << ": " << a.why << " / " << b.why);
        CHECK_FALSE(unconditional(a));
        CHECK_FALSE(unconditional(b));
        CHECK(a.why != b.why);
      }
}

SCENARIO("policy: no ring opcode is listed twice, and none opens, connects or polls again for ever", "[policy]") {
  using Rules = std::span<const sandbox::RingRule>;
  const Rules rules = GENERATE(Rules(sandbox::kBlkRingOpcodes), Rules(sandbox::kNetRingOpcodes));
  std::set<int> seen;
  for (const auto& rule : rules) {
    CHECK(seen.insert(rule.operation).second);
    CHECK(rule.operation != IORING_OP_OPENAT);
    CHECK(rule.operation != IORING_OP_OPENAT2);
    CHECK(rule.operation != IORING_OP_CONNECT);
    CHECK(rule.operation != IORING_OP_SOCKET);
  }
}

SCENARIO("policy: nobody may make files, memory to execute, processes or namespaces once sealed", "[policy]") {
  const int forbidden[] = {SYS_open,   SYS_openat, SYS_openat2,  SYS_creat, SYS_execve,         SYS_execveat,
                           SYS_clone,  SYS_clone3, SYS_fork,     SYS_vfork, SYS_unshare,        SYS_setns,
                           SYS_socket, SYS_ptrace, SYS_mprotect, SYS_bpf,   SYS_io_uring_setup, SYS_seccomp,
                           SYS_prctl,  SYS_dup,    SYS_dup2,     SYS_dup3,  SYS_connect,        SYS_process_vm_readv};
  for (const auto& policy : kPolicies)
    for (const Rule& rule : policy.rules) {
      INFO(policy.name << ": " << rule.why);
      // The one that connects again, for that: it reads nothing of anybody but a word of the card's back end.
      const bool dials = policy.name == "redial" && (rule.syscall == SYS_socket || rule.syscall == SYS_connect);
      CHECK((dials || std::ranges::find(forbidden, rule.syscall) == std::end(forbidden)));
      if (rule.syscall != SYS_mmap) continue;
      const Condition& protection = rule.conditions[0];
      CHECK(std::tuple(protection.argument, protection.mask, protection.value) == std::tuple(2, PROT_EXEC, 0));
    }
}

SCENARIO("policy: a vCPU thread needs three calls", "[policy]") {
  CHECK(sandbox::kVcpuPolicy.size() == 3);
}

SCENARIO("policy: every table compiles", "[policy]") {
  for (const auto& policy : kPolicies) {
    INFO(policy.name);
    const auto filter = Filter::compile(policy.rules, support::all_slots());
    REQUIRE(filter);
    CHECK(filter->instructions().size() > policy.rules.size());
  }
}

SCENARIO("policy: a slot that is not set is an error that names the row", "[policy]") {
  const Rule rules[] = {{SYS_ioctl, "run the guest", {sandbox::on(sandbox::Slot::Vcpu)}}};
  const auto filter = Filter::compile(rules, Slots());
  REQUIRE_FALSE(filter);
  CHECK(filter.error().code == EINVAL);
  CHECK(filter.error().context.find("run the guest") != std::string::npos);
}

SCENARIO("policy: malformed rules are refused", "[policy]") {
  const auto refused = [](const Rule& rule) {
    const auto filter = Filter::compile(std::span(&rule, 1), support::all_slots());
    return !filter && filter.error().code == EINVAL;
  };
  CHECK(refused({SYS_ioctl, "two conditions for one argument", {sandbox::equals(1, 2), sandbox::forbids(1, 1)}}));
  CHECK(refused({SYS_ioctl, "no such argument", {sandbox::equals(6, 2)}}));
  CHECK(refused({SYS_ioctl, "holds always", {sandbox::masked(1, 0, 0)}}));
  CHECK(refused({SYS_ioctl, "holds never", {sandbox::masked(1, 1, 2)}}));
}
