// The same work under `bulkhead run`, whose front end connects to a bulkhead-blk as QEMU's does, or starts it.
#include <signal.h>

#include <iostream>
#include <random>
#include <thread>

#include "tests/interop/guest_work.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/processes.h"

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

// Back ends of the disk that is written and of the one that the guest's programs are read from. Few kills for each
// guest: under this load one in three is lost within a minute by the lab, with or without kills (tests/lab/README.md).
TEST_CASE("bulkhead run: back ends that are killed at random cost the guest no I/O error", "[interop]") {
  constexpr int kKills = 40;
  constexpr std::uint64_t kBytes = 64 * kMiB;
  support::BlkFolder folder(kBytes / support::kSector);
  Machine machine({.disk = guest("tools.ext4") + ",readonly=on",
                   .cmdline = "ro",
                   .more = {"--disk", "path=" + folder.image() + ",queues=2"}});
  REQUIRE(machine.reach_shell());
  REQUIRE_THAT(machine.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo mounted"), Contains("mounted"));
  machine.send("(" + verified_load(4, "--time_based --runtime=600") + "; echo 'fio 'ended) &\n");
  std::this_thread::sleep_for(Seconds(2));

  std::mt19937 random(std::random_device{}());
  int kills = 0;
  for (int tries = 0; kills < kKills && tries < 10 * kKills; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(120 + random() % 250));
    std::vector<Process> back_ends = children_of(machine.pid());
    std::erase_if(back_ends, [](const Process& child) { return child.name != "bulkhead-blk"; });
    if (back_ends.empty()) continue;  // both are being replaced
    if (::kill(back_ends[random() % back_ends.size()].pid, SIGKILL) == 0) ++kills;
  }
  CHECK(kills == kKills);
  std::this_thread::sleep_for(Seconds(1));
  machine.send("busybox killall -INT fio\n");
  const auto fio = machine.read_until("fio ended", Seconds(60));
  INFO(machine.output() << machine.errors());
  REQUIRE(fio);
  std::cout << summary(*fio);
  CHECK_THAT(*fio, Contains("err= 0"));
  CHECK(complaints(machine) == "");
  CHECK(machine.run("umount /mnt && echo unmounted") == "unmounted\n");
  CHECK(machine.power_off() == kPoweredOff);
  const std::string told = machine.errors();
  for (const std::string name : {"blk0: ", "blk1: "}) {
    const std::size_t at = told.find(name + "replaced");
    REQUIRE(at != std::string::npos);
    std::cout << told.substr(at, told.find('\n', at) - at) << "\n";
  }
}
