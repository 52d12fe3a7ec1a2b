// A gigabyte each way, through a card of `bulkhead run`.

#include <chrono>
#include <iostream>

#include "backends/net/linux_virtio_net.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/network.h"

using namespace system_test;

TEST_CASE("net: a gigabyte goes each way over TCP, with TSO and mergeable buffers", "[nightly]") {
  Machine machine({.disk = new_root_disk(), .more = {"--net", "tap=bhtest"}});
  REQUIRE(machine.reach_shell());
  INFO(machine.errors());
  REQUIRE(bring_up(machine, {"10.99.0.2/24"}));
  REQUIRE(host("ifconfig bhtest 10.99.0.1 netmask 255.255.255.0").status == 0);
  CHECK(has_feature(machine, VIRTIO_NET_F_HOST_TSO4));
  CHECK(has_feature(machine, VIRTIO_NET_F_GUEST_TSO4));
  CHECK(has_feature(machine, VIRTIO_NET_F_MRG_RXBUF));

  constexpr Seconds kLong(400);
  const auto start = std::chrono::steady_clock::now();
  const auto took = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  CHECK(pours_in(machine, kGigabyte, "/run", "10.99.0.2 7", kLong));
  std::cout << "to the guest: " << took() << " s\n";
  CHECK(pours_out(machine, kGigabyte, "10.99.0.1 9", kLong));
  std::cout << "both ways: " << took() << " s\n";
  CHECK(machine.power_off() == kPoweredOff);
}
