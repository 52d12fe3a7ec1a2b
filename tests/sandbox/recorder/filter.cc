// In place of sandbox/seccomp.cc in programs that record: the same filters, but a call that a row allows is first shown
// to the process's tracer, with the number of the row. Without a tracer such a call fails.
#include <seccomp.h>

#include <cerrno>

#include "tests/sandbox/recorder/numbers.h"
#include "tests/support/policies.h"

namespace {

std::uint32_t show(sandbox::Policy policy, const sandbox::Rule& rule) {
  for (std::uint32_t i = 0; i < support::kPolicies.size(); ++i)
    if (support::kPolicies[i].rules.data() == policy.data() && policy.size() <= recorder::kMostRows)
      return SCMP_ACT_TRACE(recorder::number(i, static_cast<std::uint32_t>(&rule - policy.data())));
  return SCMP_ACT_KILL_PROCESS;  // of a table that is not in policies.h, or too long: libseccomp takes no rule that
                                 // does as the rest
}

int add_rule(void* context, std::uint32_t action, int call, unsigned count, const scmp_arg_cmp* arguments) {
  if (call == SYS_io_uring_enter)
    if (const int error = ::seccomp_rule_add_exact_array(context, action, recorder::kOperation, 0, nullptr); error != 0)
      return error;
  const int error = ::seccomp_rule_add_exact_array(context, action, call, count, arguments);
  return error == -EEXIST ? 0 : error;  // two slots with one descriptor: the first row counts
}

}  // namespace

#define seccomp_rule_add_exact_array(context, action, ...) add_rule(context, show(policy, rule), __VA_ARGS__)
#include "sandbox/seccomp.cc"  // NOLINT(bugprone-suspicious-include)
