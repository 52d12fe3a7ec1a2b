// A guest moves from one QEMU to another on the same host while it works on its disk: the image is shared, and each
// QEMU has a bulkhead-blk of its own. With --lock=running the image is locked by the one whose rings run.
#include <iostream>
#include <thread>

#include "tests/interop/guest_work.h"
#include "tests/interop/monitor.h"
#include "tests/interop/qemu.h"
#include "tests/support/catch.h"

using namespace interop;
using Catch::Matchers::Contains;

TEST_CASE("QEMU: a guest moves to another QEMU while its disk is busy", "[interop]") {
  Disk disk(128 * kMiB, {"--lock=running"});
  auto source = std::make_unique<Qemu>(QemuOptions{.disk = disk.socket(), .name = "source"});
  REQUIRE(source->reach_shell());
  REQUIRE_THAT(source->run("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && echo mounted"), Contains("mounted"));
  source->run("(" + verified_load(8, "--time_based --runtime=25") + ") >/run/fio 2>&1 &");

  const auto beside = disk.start("2");
  Qemu destination({.disk = disk.socket("2"), .name = "destination", .incoming = true});
  const std::string uri = R"({"uri": "unix:)" + system_test::work_file("migration") + R"("})";
  Monitor to(monitor_socket("destination"));
  to.ask("migrate-incoming", uri);
  Monitor from(monitor_socket("source"));
  from.ask("migrate-set-parameters", R"({"max-bandwidth": 4294967296, "downtime-limit": 2000})");
  from.ask("migrate", uri);
  const bool completed = from.ask_until("query-migrate", R"("status": "completed")", Seconds(60));
  const std::string told = from.ask("query-migrate");
  INFO(told << source->errors() << destination.errors() << disk.log());
  REQUIRE(completed);
  CHECK(to.ask_until("query-status", R"("running": true)", Seconds(10)));
  std::cout << "migrated in " << number_after(told, R"("total-time": )") << " ms, paused for "
            << number_after(told, R"("downtime": )") << " ms\n";

  source.reset();  // with what it would still do to the disk
  destination.run("wait");
  const std::string fio = destination.run("cat /run/fio");
  std::cout << summary(fio);
  CHECK_THAT(fio, Contains("err= 0"));
  CHECK(complaints(destination) == "");
  CHECK(destination.run("umount /mnt && echo unmounted") == "unmounted\n");
  CHECK(disk.check_file_system() == "clean");
  CHECK(destination.power_off() == 0);
  CHECK_THAT(disk.log(), !Contains("refused") && !Contains("connection closed"));
}
