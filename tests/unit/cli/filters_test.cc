// Which calls pass the filters that a thread has.
#include "monitor/cli/filters.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "sandbox/parent.h"
#include "tests/support/catch.h"
#include "tests/support/policies.h"

namespace {

using Filters = std::vector<cli::Filter>;

cli::Filter instructions(const sandbox::Filter& filter) {
  return {filter.instructions().begin(), filter.instructions().end()};
}

std::set<int> calls_in(sandbox::Policy policy) {
  std::set<int> calls;
  for (const sandbox::Rule& rule : policy) calls.insert(rule.syscall);
  return calls;
}

}  // namespace

SCENARIO("filters: of each table those calls pass that it lists, and none of another architecture", "[filters]") {
  for (const auto& policy : support::kPolicies) {
    INFO(policy.name);
    const Filters filters{instructions(sandbox::Filter::compile(policy.rules, support::all_slots()).value())};
    const cli::Passing found = cli::passing(filters);
    CHECK(found.calls == calls_in(policy.rules));
    CHECK_FALSE(found.foreign);
  }
}

SCENARIO("filters: what passes has passed each of them", "[filters]") {
  const auto refusing = instructions(sandbox::Filter::refusing(sandbox::kNeverCalled).value());
  const Filters one{refusing};
  const cli::Passing many = cli::passing(one);
  CHECK_FALSE(many.foreign);
  for (const int call : sandbox::kNeverCalled) CHECK_FALSE(many.calls.contains(call));
  CHECK(many.calls.size() > 900);

  constexpr int kOnlyWrite[] = {SYS_write};
  const auto vcpu = instructions(sandbox::Filter::compile(sandbox::kVcpuPolicy, support::all_slots()).value());
  const Filters all{refusing, vcpu, instructions(sandbox::Filter::refusing(kOnlyWrite).value())};
  CHECK(cli::passing(all).calls == std::set<int>{SYS_ioctl, SYS_futex});
}

SCENARIO("filters: a filter that lets everything through is seen to", "[filters]") {
  const Filters allowing{cli::Filter{{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}}};
  const cli::Passing all = cli::passing(allowing);
  CHECK(all.foreign);
  CHECK(all.calls.contains(SYS_execve));
  CHECK(cli::passing({}).foreign);  // and so is none

  // By what it computes, or of a call's arguments: it may.
  const Filters computing{cli::Filter{{BPF_LD | BPF_W | BPF_ABS, 0, 0, 16},
                                      {BPF_ALU | BPF_OR | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
                                      {BPF_RET | BPF_A, 0, 0, 0}}};
  CHECK(cli::passing(computing).calls.contains(SYS_execve));
  // A jump beyond the end is no way through.
  const Filters broken{cli::Filter{{BPF_JMP | BPF_JA, 0, 0, 0xfffffff0}}};
  CHECK(cli::passing(broken) == cli::Passing{});
}

SCENARIO("filters: those of a process are read from the kernel, and it goes on", "[filters]") {
  if (::geteuid() != 0) SKIP_TEST("only root may read a process's filters");
  int ready[2], go[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(go) == 0);
  const auto filter = sandbox::Filter::refusing(sandbox::kNeverCalled).value();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    char byte = filter.enter().has_value() ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1 || ::read(go[0], &byte, 1) != 1) ::_exit(1);
    ::_exit(7);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const auto filters = cli::filters_of(child);
  REQUIRE(::write(go[1], &byte, 1) == 1);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 7);
  if (!filters && filters.error().code == EINVAL) SKIP_TEST("this kernel cannot tell filters");
  REQUIRE(filters);
  const cli::Filter entered = instructions(filter);
  const bool last = std::ranges::equal(filters->front(), entered, [](const sock_filter& a, const sock_filter& b) {
    return a.code == b.code && a.jt == b.jt && a.jf == b.jf && a.k == b.k;
  });
  CHECK(last);
  CHECK(cli::filters_of(0x7ffffff0).error().code == ESRCH);
}
