// What happens to a machine while its disk is busy: it is paused, gets memory, is reset.
#include <iostream>
#include <thread>

#include "tests/interop/guest_work.h"
#include "tests/interop/monitor.h"
#include "tests/interop/qemu.h"
#include "tests/support/catch.h"

using namespace interop;
using Catch::Matchers::Contains;

namespace {

std::string memory_of(Qemu& qemu) {
  return qemu.run("grep MemTotal /proc/meminfo");
}

}  // namespace

TEST_CASE("QEMU: a machine is paused, gets memory and is reset while its disk is busy", "[interop]") {
  Disk disk(128 * kMiB);
  Qemu qemu({.disk = disk.socket()});
  Monitor monitor(monitor_socket("qemu"));
  REQUIRE(qemu.reach_shell());
  REQUIRE_THAT(qemu.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo mounted"), Contains("mounted"));
  const std::string memory = memory_of(qemu);

  qemu.run("(" + verified_load(8, "--time_based --runtime=12") + ") >/run/fio 2>&1 &");
  int pauses = 0;
  for (; pauses < 40; ++pauses) {
    monitor.ask("stop");
    monitor.ask("cont");
    std::this_thread::sleep_for(Seconds(0.1));
  }
  monitor.ask("object-add", R"({"qom-type": "memory-backend-memfd", "id": "more", "size": 134217728, "share": true})");
  monitor.ask("device_add", R"({"driver": "pc-dimm", "id": "dimm", "memdev": "more"})");
  qemu.run("wait");
  const std::string fio = qemu.run("cat /run/fio");
  std::cout << pauses << " pauses\n" << summary(fio);
  CHECK_THAT(fio, Contains("err= 0"));
  CHECK(number_after(memory_of(qemu), "MemTotal:") > number_after(memory, "MemTotal:") + 120'000);
  CHECK(complaints(qemu) == "");

  // Nothing of what was in flight may come back into the memory of the next kernel.
  qemu.run("(" + verified_load(8, "--time_based --runtime=60") + ") >/run/fio 2>&1 &");
  std::this_thread::sleep_for(Seconds(2));
  monitor.ask("system_reset");
  REQUIRE(qemu.reach_shell());
  CHECK_THAT(qemu.run("mount /dev/vdb /mnt && ls /mnt"), Contains("verify"));
  CHECK(qemu.run("umount /mnt && echo unmounted") == "unmounted\n");
  CHECK(disk.check_file_system() == "clean");
  CHECK(complaints(qemu) == "");
  CHECK(qemu.power_off() == 0);
  CHECK_THAT(disk.log(), !Contains("refused") && !Contains("connection closed"));
}
