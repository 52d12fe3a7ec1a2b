// The processes of running machines, taken over.
#include "tests/sandbox/hijack/machine.h"

#include <sys/syscall.h>

#include <chrono>
#include <thread>

#include "sandbox/parent.h"
#include "sandbox/violation.h"
#include "tests/integration/monitor/supervised.h"
#include "tests/support/calls.h"
#include "tests/support/catch.h"
#include "tests/support/golden_tables.h"

using namespace hijacked;
using support::golden_calls;

SCENARIO("hijack: a monitored back end ends by a call that its table does not list, and its guest sees nothing of it",
         "[hijack]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  CHECK(try_on_blk(wanted(golden_calls("blk"))).wrong == kNothing);
}

SCENARIO("hijack: the monitor names the call that a back end has died of", "[hijack]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  std::vector<Call> unnamed{{SYS_openat}, {SYS_ptrace}, {SYS_execve}, {support::kX32 | SYS_write}};
  const std::size_t all = unnamed.size();
  // The kernel's log leaves records out while there are many.
  for (int i = 0; i < 4 && !unnamed.empty(); ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::seconds(3));
    const Tried tried = try_on_blk(unnamed);
    CHECK(tried.wrong == kNothing);
    std::erase_if(unnamed, [&](const Call& call) { return tried.told.find(cause(call)) != std::string::npos; });
  }
  if (unnamed.size() == all) SKIP_TEST("this host's audit does not write to the kernel's log");
  CHECK(unnamed.empty());
}

SCENARIO("hijack: a vcpu-host ends by a call that its thread's table does not list, and its machine ends in order",
         "[hijack]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  const VcpuHostThread thread = GENERATE(kEventLoop, kFirstVcpu);
  INFO(thread.table);
  CHECK(wrong_of_vcpu_host(thread, wanted(golden_calls(thread.table))) == kNothing);
  CHECK(wrong_of_vcpu_host(thread, requests_of_vcpu_host(thread)) == kNothing);
}

SCENARIO("hijack: a confined monitor ends by a call that its table does not list, and its children with it",
         "[hijack]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  CHECK(complaints(wanted(golden_calls("monitor")), try_on_monitor) == kNothing);
  CHECK(complaints(requests_of_monitor(), try_on_monitor) == kNothing);
}

SCENARIO("hijack: a spawner is refused what it never calls, and ends by a call of x32 or of 32 bits", "[hijack]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  std::vector<Call> never;
  for (const int number : sandbox::kNeverCalled) never.push_back({static_cast<std::uint64_t>(number)});
  CHECK(refused_to_spawner(never) == kNothing);
  std::vector<Call> others = wanted({});
  std::erase_if(others,
                [](const Call& call) { return name_of(call) != sandbox::name_of_call(sandbox::kOtherArchitecture); });
  CHECK(complaints(others, try_on_spawner) == kNothing);
}
