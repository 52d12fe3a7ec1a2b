// What takes minutes in the lab: a gigabyte each way.
#include <chrono>
#include <iostream>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/network.h"

using namespace system_test;

namespace {

constexpr Seconds kLong(800);
const std::string kBytes = std::to_string(std::uint64_t{1} << 30);

// Sends so many bytes that nobody has seen before, and leaves their sum in `sum`.
std::string pour(const std::string& place, const std::string& applet, const std::string& to) {
  return "cd " + place + "; rm -f pipe; mkfifo pipe; " + applet + "md5sum <pipe >sum & cd " + place + "; head -c " +
         kBytes + " /dev/urandom | tee pipe | " + applet + "nc " + to + "; wait";
}

}  // namespace

TEST_CASE("net: a gigabyte goes each way over TCP through a tap, with TSO and mergeable buffers", "[nightly]") {
  Machine machine({.cpus = 2,
                   .disk = guest("tools.ext4") + ",readonly=on",
                   .cmdline = "ro",
                   .more = {"--net", "tap=bhtest,mtu=1500"}});
  const bool reached = machine.reach_shell();
  INFO(machine.errors());
  REQUIRE(reached);
  REQUIRE(bring_up(machine, {"10.99.0.2/24"}));
  REQUIRE(host("ip address add 10.99.0.1/24 dev bhtest").status == 0);
  CHECK_THAT(machine.run("ethtool -k eth0"), Catch::Contains("tcp-segmentation-offload: on"));
  // VIRTIO_NET_F_MRG_RXBUF is bit 15, which is the 16th sign.
  CHECK(machine.run("cut -c 16 /sys/class/net/eth0/device/features") == "1\n");

  const auto start = std::chrono::steady_clock::now();
  const auto took = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  const std::string got = guest_hears(machine, pour("/run", "", "10.99.0.2 7"), "busybox md5sum", kLong);
  CHECK(got == host("cat /run/sum").output);
  std::cout << "to the guest: " << took() << " s\n";
  const std::string sent = host_hears(machine, pour("/mnt", "busybox ", "10.99.0.1 9"), "md5sum", kLong);
  CHECK(sent == machine.run("cat /mnt/sum"));
  std::cout << "both ways: " << took() << " s\n";
  // As frames are counted, they are longer than the MTU: TSO and GRO.
  CHECK(host("awk '{exit !($1 > 1000000000)}' /sys/class/net/bhtest/statistics/rx_bytes").status == 0);
  CHECK(machine.power_off() == kPoweredOff);
}
