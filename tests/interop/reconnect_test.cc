// The back end is killed again and again beneath a guest that works: QEMU connects to its successor, and the guest
// notices nothing.
#include <iostream>
#include <random>
#include <thread>

#include "tests/interop/guest_work.h"
#include "tests/interop/qemu.h"
#include "tests/support/catch.h"

using namespace interop;
using Catch::Matchers::Contains;

namespace {

void kill_again_and_again(bool packed, int seconds) {
  Disk disk(128 * kMiB);
  Qemu qemu({.disk = disk.socket(), .packed = packed});
  REQUIRE(qemu.reach_shell());
  CHECK(qemu.run("cut -c35 /sys/block/vdb/device/features") == (packed ? "1\n" : "0\n"));  // bit 34, RING_PACKED
  REQUIRE_THAT(qemu.run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo mounted"), Contains("mounted"));

  qemu.send(verified_load(8, "--time_based --runtime=" + std::to_string(seconds + 5)) + "; echo 'fio 'ended\n");
  const auto end = std::chrono::steady_clock::now() + Seconds(seconds);
  std::mt19937 random(std::random_device{}());
  int kills = 0;
  for (; std::chrono::steady_clock::now() < end; ++kills) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 400));
    // QEMU connects a second after it was left alone. It is not killed before: QEMU 7.2 never comes back to a back end
    // that dies while they greet each other.
    REQUIRE(disk.serve_and_wait_for_write(Seconds(30)));
  }
  const std::optional<std::string> fio = qemu.read_until("fio ended", Seconds(120));
  INFO(qemu.output() << qemu.errors() << disk.log());
  REQUIRE(fio);
  std::cout << kills << " kills\n" << summary(*fio);
  CHECK(kills >= seconds / 3);
  CHECK_THAT(*fio, Contains("err= 0"));
  CHECK(complaints(qemu) == "");
  CHECK(qemu.run("umount /mnt && echo unmounted") == "unmounted\n");
  CHECK(disk.check_file_system() == "clean");
  CHECK(qemu.power_off() == 0);
}

}  // namespace

TEST_CASE("QEMU: a back end that is killed every second for a minute costs the guest no I/O error", "[interop]") {
  kill_again_and_again(false, 60);
}

TEST_CASE("QEMU: a back end of packed rings that is killed every second costs the guest no I/O error", "[interop]") {
  kill_again_and_again(true, 20);
}
