// A gigabyte each way, through a card of `bulkhead run`. By way of files: in the lab a pipe is slower than the card, as
// are the small writes of BusyBox's nc.
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "backends/net/linux_virtio_net.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/network.h"

using namespace system_test;

TEST_CASE("net: a gigabyte goes each way over TCP, with TSO and mergeable buffers", "[nightly]") {
  constexpr Seconds kLong(300);
  Machine machine({.memory = "1500M", .disk = new_root_disk(), .more = {"--net", "tap=bhtest"}});
  REQUIRE(machine.reach_shell());
  INFO(machine.errors());
  REQUIRE(bring_up(machine, {"10.99.0.2/24"}));
  REQUIRE(host("ifconfig bhtest 10.99.0.1 netmask 255.255.255.0").status == 0);
  CHECK(has_feature(machine, VIRTIO_NET_F_HOST_TSO4));
  CHECK(has_feature(machine, VIRTIO_NET_F_GUEST_TSO4));
  CHECK(has_feature(machine, VIRTIO_NET_F_MRG_RXBUF));

  const Outcome sum = host("head -c 1073741824 /dev/urandom >/run/sent; md5sum </run/sent", kLong);
  REQUIRE(
      machine.run(
          "mount -t tmpfs -o size=1100M none /mnt; cd /mnt; mkfifo open; (busybox nc -l -p 7 0<>open >got) & sleep 1; "
          "echo ready") == "ready\n");
  const auto start = std::chrono::steady_clock::now();
  const auto took = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  CHECK(host("nc 10.99.0.2 7 </run/sent", kLong).status == 0);
  CHECK(machine.run("wait; busybox md5sum <got", kLong) == sum.output);
  std::cout << "to the guest: " << took() << " s\n";
  CHECK(host("rm /run/sent").status == 0);

  Command listener({"/bin/busybox", "sh", "-c", "nc -l -p 9 >/run/back"});
  ::usleep(500'000);
  const std::string answer = machine.run("bash -c 'cat got >/dev/tcp/10.99.0.1/9'; echo sent", kLong);
  INFO(machine.errors());
  CHECK(answer == "sent\n");
  CHECK(listener.wait(kLong) == 0);
  CHECK(host("md5sum </run/back", kLong).output == sum.output);
  std::cout << "both ways: " << took() << " s\n";
  CHECK(machine.power_off() == kPoweredOff);
}
