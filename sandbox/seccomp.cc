#include "sandbox/seccomp.h"

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "sandbox/child_process.h"

namespace sandbox {
namespace {

using ipc::Result;
using ipc::UniqueFd;

struct ReleaseContext {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using Context = std::unique_ptr<void, ReleaseContext>;

// For what a filter does with calls that no rule of it names.
Result<Context> make_context(std::uint32_t otherwise) {
  Context context(::seccomp_init(otherwise));
  if (!context) return ipc::failure(ENOMEM, "seccomp_init");
  // Another architecture's calls, x32's among them, would escape numbers that were checked for x86-64.
  if (const int error = ::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); error != 0)
    return ipc::failure(-error, "seccomp_attr_set");
  return context;
}

std::unexpected<ipc::Error> bad_rule(const Rule& rule, std::string_view what) {
  return ipc::failure(EINVAL, fmt::format("seccomp rule \"{}\" for call {}: {}", rule.why, rule.syscall, what));
}

Result<std::vector<scmp_arg_cmp>> comparisons(const Rule& rule, const Slots& slots) {
  std::vector<scmp_arg_cmp> all;
  for (const Condition& condition : rule.conditions) {
    if (condition.kind == Condition::Kind::None) continue;
    if (condition.argument > 5) return bad_rule(rule, "no such argument");
    const auto same = [&](const scmp_arg_cmp& other) { return other.arg == condition.argument; };
    if (std::ranges::any_of(all, same)) return bad_rule(rule, "two conditions for one argument");
    // The kernel takes a descriptor as 32 bits, whatever the register's upper half holds.
    std::uint64_t mask = 0xffffffff;
    std::uint64_t value = 0;
    if (condition.kind == Condition::Kind::Masked) {
      mask = condition.mask;
      value = condition.value;
      if (mask == 0 || (value & ~mask) != 0) return bad_rule(rule, "a condition that cannot fail or hold");
    } else {
      const std::optional<int> number = slots.number(condition.slot);
      if (!number) return bad_rule(rule, "its slot is not set");
      value = static_cast<std::uint64_t>(*number);
    }
    all.push_back({.arg = condition.argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value});
  }
  return all;
}

Result<std::vector<sock_filter>> export_program(const Context& context) {
  const UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return ipc::system_failure("memfd_create for a seccomp filter");
  if (const int error = ::seccomp_export_bpf(context.get(), file.get()); error != 0)
    return ipc::failure(-error, "export a seccomp filter");
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("fstat a seccomp filter");
  std::vector<sock_filter> program(static_cast<std::size_t>(status.st_size) / sizeof(sock_filter));
  const ssize_t size = ::pread(file.get(), program.data(), program.size() * sizeof(sock_filter), 0);
  if (size != status.st_size || program.empty() || program.size() > BPF_MAXINSNS)
    return ipc::failure(EIO, "read a seccomp filter back");
  return program;
}

}  // namespace

Slots::Slots() {
  numbers_.fill(-1);
  numbers_[static_cast<std::size_t>(Slot::Log)] = kLogFd;
  numbers_[static_cast<std::size_t>(Slot::Control)] = kControlFd;
}

Slots& Slots::set(Slot slot, const UniqueFd& descriptor) {
  numbers_[static_cast<std::size_t>(slot)] = descriptor.get();
  return *this;
}

std::optional<int> Slots::number(Slot slot) const {
  const int number = numbers_[static_cast<std::size_t>(slot)];
  return number < 0 ? std::nullopt : std::optional(number);
}

Result<Filter> Filter::compile(Policy policy, const Slots& slots) {
  const Context context = TRY(make_context(SCMP_ACT_KILL_PROCESS));
  std::uint8_t priority = 255;  // the earlier in the table, the earlier in the filter
  for (const Rule& rule : policy) {
    const std::vector<scmp_arg_cmp> all = TRY(comparisons(rule, slots));
    int error = ::seccomp_rule_add_exact_array(context.get(), SCMP_ACT_ALLOW, rule.syscall,
                                               static_cast<unsigned>(all.size()), all.data());
    if (error == 0) error = ::seccomp_syscall_priority(context.get(), rule.syscall, priority);
    if (error != 0) return bad_rule(rule, std::strerror(-error));
    if (priority > 0) --priority;
  }
  return Filter(TRY(export_program(context)));
}

Result<Filter> Filter::refusing(std::span<const int> calls) {
  const Context context = TRY(make_context(SCMP_ACT_ALLOW));
  for (const int call : calls)
    if (const int error = ::seccomp_rule_add_exact(context.get(), SCMP_ACT_ERRNO(EPERM), call, 0); error != 0)
      return ipc::failure(-error, fmt::format("refuse system call {}", call));
  return Filter(TRY(export_program(context)));
}

Result<> Filter::enter() const {
#ifndef BULKHEAD_SANITIZED  // sanitizers make calls that no policy of ours lists
  const sock_fprog program{.len = static_cast<unsigned short>(program_.size()),
                           .filter = const_cast<sock_filter*>(program_.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return ipc::system_failure("seccomp");
#endif
  return {};
}

Result<> enter_filter(Policy policy, const Slots& slots) {
  const Filter filter = TRY(Filter::compile(policy, slots));
  return filter.enter();
}

}  // namespace sandbox
