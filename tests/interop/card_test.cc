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

  // 64 MiB each way over TCP.
  const std::string sent = card.file("sent");
  const std::string got = guest_hears(qemu, "head -c 67108864 /dev/urandom | tee " + sent + " | nc 10.97.0.2 7",
                                      "busybox tee got | busybox sha256sum");
  CHECK(got == host("sha256sum <" + sent).output);
  CHECK(host_hears(qemu, "busybox nc 10.97.0.1 9 </mnt/got", "sha256sum") == got);

  // Where a packed ring stands QEMU learns from the back end alone, and not from one that was killed.
  for (int i = 0; i < (packed ? 0 : 3); ++i) {
    card.kill();
    card.start();
    // QEMU connects again after a second.
    CHECK(
        qemu.run(
            "for i in 1 2 3 4 5 6 7 8 9 10; do busybox ping -c 1 -W 1 10.97.0.1 >/dev/null && break; done; echo $?") ==
        "0\n");
  }
  CHECK(qemu.power_off() == 0);
}
