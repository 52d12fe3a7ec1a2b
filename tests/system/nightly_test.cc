// What takes minutes in the lab: the whole multi-user system of every kernel, by both ways to boot.
#include <signal.h>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"

using namespace system_test;

TEST_CASE("systemd comes to multi-user, is logged in to, and powers off by the power button", "[nightly]") {
  const std::string flavour = GENERATE("cloud", "full", "rt");
  const std::string image = GENERATE("vmlinux", "vmlinuz");
  INFO(flavour << "/" << image);
  Machine machine(
      {.flavour = flavour, .image = image, .memory = "512M", .disk = new_root_disk(), .init = "/sbin/init"});
  REQUIRE(machine.expect("login: ", Seconds(800)));
  machine.send("root\n");
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("systemctl is-active multi-user.target") == "active\n");
  CHECK(machine.run("systemctl --failed --no-legend --plain") == "");
  REQUIRE(kill(machine.pid(), SIGTERM) == 0);
  CHECK(machine.wait(Seconds(400)) == kPoweredOff);
}
