// A gigabyte each way.
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "backends/net/linux_virtio_net.h"
#include "tests/interop/card.h"
#include "tests/support/catch.h"

using namespace interop;
using system_test::has_feature;
using system_test::kGigabyte;
using system_test::pours_in;
using system_test::pours_out;

namespace {

constexpr Seconds kLong(600);

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
  CHECK(pours_in(qemu, kGigabyte, card.file(""), "10.97.0.2 7", kLong));
  std::cout << "to the guest: " << took() << " s\n";
  CHECK(pours_out(qemu, kGigabyte, "10.97.0.1 9", kLong));
  std::cout << "both ways: " << took() << " s\n";
  CHECK(qemu.power_off() == 0);
}
