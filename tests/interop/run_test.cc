// The same work under `bulkhead run`, whose front end connects to a bulkhead-blk as QEMU's does.
#include "tests/interop/guest_work.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"

using namespace interop;
using namespace system_test;
using Catch::Matchers::Contains;

TEST_CASE("bulkhead run: a guest makes a file system, loads it, trims it, sees it grow, and discards it", "[interop]") {
  constexpr Effort kEffort{.size = 48 * kMiB, .grown = 64 * kMiB, .file = 4};
  Disk disk(kEffort.size);
  Machine machine(
      {.cpus = kQueues,
       .disk = guest("tools.ext4") + ",readonly=on",
       .cmdline = "ro",
       .more = {"--device", "vhost-user,socket=" + disk.socket() + ",id=2,queues=" + std::to_string(kQueues)}});
  REQUIRE(machine.reach_shell());
  work_with_files(machine, disk, kEffort);
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(machine.errors() == "");
  CHECK_THAT(disk.log(), !Contains("refused") && !Contains("connection closed"));
}
