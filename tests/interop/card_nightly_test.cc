// A gigabyte each way.
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "backends/net/linux_virtio_net.h"
#include "tests/interop/card.h"
#include "tests/support/catch.h"

using namespace interop;
using system_test::guest_hears;
using system_test::has_feature;
using system_test::host;
using system_test::host_hears;

namespace {

constexpr Seconds kLong(600);

// Sends a gigabyte that nobody has seen before, and leaves its sum in the folder.
std::string pour(const std::string& folder, const std::string& to) {
  return "cd " + folder + "; rm -f pipe; mkfifo pipe; busybox md5sum <pipe >sum & cd " + folder +
         "; head -c 1073741824 /dev/urandom | tee pipe | busybox nc " + to + "; wait";
}

}  // namespace

TEST_CASE("QEMU: a gigabyte goes each way over TCP through a guest's card, with TSO and mergeable buffers",
          "[nightly]") {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) SKIP_TEST("no right to open /dev/net/tun");
  Card card;
  Qemu qemu({.card = card.socket()});
  REQUIRE(qemu.reach_shell());
  INFO(qemu.errors() << card.log());
  REQUIRE(bring_up(qemu, {"10.97.0.2/24"}));
  CHECK_THAT(qemu.run("ethtool -k eth0"), Catch::Contains("tcp-segmentation-offload: on"));
  CHECK(has_feature(qemu, VIRTIO_NET_F_MRG_RXBUF));

  const auto start = std::chrono::steady_clock::now();
  const auto took = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  const std::string got = guest_hears(qemu, pour(card.file(""), "10.97.0.2 7"), "busybox md5sum", kLong);
  CHECK(got == host("cat " + card.file("sum")).output);
  std::cout << "to the guest: " << took() << " s\n";
  const std::string sent = host_hears(qemu, pour("/mnt", "10.97.0.1 9"), "md5sum", kLong);
  CHECK(sent == qemu.run("cat /mnt/sum"));
  std::cout << "both ways: " << took() << " s\n";
  CHECK(qemu.power_off() == 0);
}
