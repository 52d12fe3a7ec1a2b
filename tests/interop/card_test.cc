// QEMU as the front end of a network card: a Debian guest and its host's kernel move data through bulkhead-net.
#include "tests/interop/card.h"

#include "tests/interop/qemu.h"
#include "tests/support/catch.h"
#include "tests/system/network.h"

using namespace interop;
using system_test::host;

TEST_CASE("QEMU: a guest's card reaches the host, is killed, and comes back", "[interop]") {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) SKIP_TEST("no right to open /dev/net/tun");
  Card card;
  const bool packed = GENERATE(false, true);
  Qemu qemu({.card = card.socket(), .packed = packed});
  REQUIRE(qemu.reach_shell());
  INFO(qemu.output() << qemu.errors() << card.log());
  CHECK(bring_up(qemu, {"10.97.0.2/24"}));
  CHECK(qemu.run("cat /sys/class/net/eth0/address") == std::string(kMac) + "\n");
  CHECK(answers(qemu, "10.97.0.1"));

  CHECK(echoes(qemu, card, 64 * kMiB));

  // Where a packed ring stands QEMU learns from the back end alone, and not from one that was killed.
  for (int i = 0; i < (packed ? 0 : 3); ++i) {
    card.kill();
    card.start();
    CHECK(answers_again(qemu));
  }
  CHECK(qemu.power_off() == 0);
}
