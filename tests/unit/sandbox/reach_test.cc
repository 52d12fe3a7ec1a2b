// What the tables let a process that was taken over reach, written down beside them: a row more or less is seen here.
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <map>
#include <set>

#include "sandbox/linux_kvm.h"
#include "tests/support/bpf.h"
#include "tests/support/catch.h"
#include "tests/support/golden_tables.h"
#include "tests/support/policies.h"
#include "tests/support/tables.h"

using sandbox::Filter;
using sandbox::Rule;
using sandbox::Slot;
using support::kPolicies;
using support::kSlotNames;

namespace {

std::string describe(std::string_view name, sandbox::Policy policy) {
  std::multiset<std::string> rows;
  for (const Rule& rule : policy) rows.insert(support::describe(rule));
  return fmt::format("{}\n  {}\n", name, fmt::join(rows, "\n  "));
}

std::string all_tables() {
  std::string text;
  for (const auto& policy : kPolicies) text += describe(policy.name, policy.rules);
  const auto ring = [&](std::string_view name, std::span<const sandbox::RingRule> rules) {
    std::set<int> operations;
    for (const auto& rule : rules) operations.insert(rule.operation);
    text += fmt::format("{}\n  {}\n", name, fmt::join(operations, " "));
  };
  ring("operations of blk's io_uring", sandbox::kBlkRingOpcodes);
  ring("operations of blk's io_uring, pinned memory", sandbox::kBlkPinnedRingOpcodes);
  ring("operations of net's io_uring", sandbox::kNetRingOpcodes);
  ring("io_uring_register of an io_uring", sandbox::kRingRegister);
  ring("io_uring_register of an io_uring, pinned memory", sandbox::kRingRegisterBuffers);
  return text;
}

}  // namespace

SCENARIO("reach: the tables are those of golden/tables.txt", "[reach]") {
  CHECK(all_tables() == support::golden_tables());
}

SCENARIO("reach: of all ioctls on all descriptors a process may make those few", "[reach]") {
  // What the setup of a virtual machine is made of is over; the rest would be new power.
  using Reach = std::set<std::pair<std::string, std::uint32_t>>;
  const std::map<std::string_view, Reach> right = {
      {"vcpu", {{"Vcpu", KVM_RUN}}},
      {"event loop", {{"Vm", KVM_SET_GSI_ROUTING}, {"Vm", KVM_IRQFD}, {"Vm", KVM_IOEVENTFD}}},
      {"monitor", {{"standard input", TCGETS}, {"standard input", TCSETSW}}},
      {"net", {{"any", TUNSETOFFLOAD}}},
      {"net, no io_uring", {{"any", TUNSETOFFLOAD}}},
      {"net standalone", {{"any", TUNSETOFFLOAD}}},
      {"net standalone, no io_uring", {{"any", TUNSETOFFLOAD}}},
  };
  const sandbox::Slots slots = support::all_slots();
  std::map<int, std::string> names{{0, "standard input"}};
  for (std::size_t slot = 0; slot < sandbox::kSlots; ++slot)
    if (const auto number = slots.number(static_cast<Slot>(slot))) names[*number] = kSlotNames[slot];
  // Descriptors: those that have a meaning, those beside them, and the first few.
  std::set<std::uint32_t> descriptors{0, 1, 4, 5, 6, 7, 8, 9, 10, 64, 0x7fffffff, 0xffffffff};
  for (const auto& [number, name] : names) descriptors.insert({std::uint32_t(number), std::uint32_t(number) + 1});
  for (const auto& policy : kPolicies) {
    const auto filter = Filter::compile(policy.rules, slots).value();
    std::map<std::string, std::set<std::uint32_t>> reached;
    std::map<std::uint32_t, std::size_t> times;
    const auto ask = [&](std::uint32_t request) {
      for (const std::uint32_t fd : descriptors) {
        if (!support::lets_through(filter.instructions(), SYS_ioctl, {fd, request, 0, 0, 0, 0})) continue;
        const auto name = names.find(static_cast<int>(fd));
        reached[name == names.end() ? "another" : name->second].insert(request);
        ++times[request];
      }
    };
    // Every number of KVM, of taps and of terminals, in each direction, of every size that their structures have and
    // some others.
    for (const std::uint32_t type : {0xaeu, std::uint32_t{'T'}})
      for (std::uint32_t number = 0; number < 256; ++number)
        for (std::uint32_t direction = 0; direction < 4; ++direction)
          for (const std::uint32_t size :
               {0u,  1u,  2u,  4u,  6u,   8u,   12u,  16u,  20u,  24u,  32u,  40u,  48u,   56u,
                64u, 72u, 80u, 96u, 112u, 128u, 144u, 256u, 312u, 416u, 512u, 520u, 1024u, 4096u})
            ask(direction << 30 | size << 16 | type << 8 | number);
    Reach found;
    for (const auto& [name, requests] : reached)
      for (const std::uint32_t request : requests)
        found.insert({times[request] == descriptors.size() ? "any" : name, request});
    INFO(policy.name);
    const auto expected = right.find(policy.name);
    CHECK(found == (expected == right.end() ? Reach() : expected->second));
  }
}

SCENARIO("reach: what a filter says here it says in the kernel", "[reach]") {
  const auto filter = Filter::compile(sandbox::kVcpuPolicy, support::all_slots()).value();
  const auto vcpu = static_cast<std::uint64_t>(support::all_slots().number(Slot::Vcpu).value());
  CHECK(support::lets_through(filter.instructions(), SYS_ioctl, {vcpu, KVM_RUN, 0, 0, 0, 0}));
  CHECK_FALSE(support::lets_through(filter.instructions(), SYS_ioctl, {vcpu + 1, KVM_RUN, 0, 0, 0, 0}));
  CHECK_FALSE(support::lets_through(filter.instructions(), SYS_ioctl, {vcpu, KVM_GET_REGS, 0, 0, 0, 0}));
  CHECK_FALSE(support::lets_through(filter.instructions(), 0x40000000 | SYS_ioctl, {vcpu, KVM_RUN, 0, 0, 0, 0}));
  CHECK_FALSE(support::lets_through(filter.instructions(), SYS_openat, {}));
}
