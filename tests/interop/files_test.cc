// A guest's everyday work on a vhost-user disk under QEMU.
#include "tests/interop/guest_work.h"
#include "tests/interop/qemu.h"
#include "tests/support/catch.h"

using namespace interop;
using Catch::Matchers::Contains;

TEST_CASE("QEMU: a guest makes a file system, loads it, trims it, sees it grow, and discards it", "[interop]") {
  constexpr Effort kEffort{.size = 192 * kMiB, .grown = 256 * kMiB, .file = 24};
  Disk disk(kEffort.size);
  Qemu qemu({.disk = disk.socket()});
  REQUIRE(qemu.reach_shell());
  work_with_files(qemu, disk, kEffort);
  CHECK(qemu.power_off() == 0);
  CHECK(qemu.errors() == "");
  CHECK_THAT(disk.log(), !Contains("refused") && !Contains("connection closed"));
}
