// What takes minutes in the lab: the whole multi-user system of every kernel, by both ways to boot.
#include <signal.h>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"

using namespace system_test;

namespace {

void comes_to_multi_user(const std::string& flavour, const std::string& image) {
  Machine machine(
      {.flavour = flavour, .image = image, .memory = "512M", .disk = new_root_disk(), .init = "/sbin/init"});
  REQUIRE(machine.expect("login: ", Seconds(800)));
  machine.send("root\n");
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("systemctl is-active multi-user.target") == "active\n");
  CHECK(machine.run("systemctl --failed --no-legend --plain") == "");
  REQUIRE(kill(machine.pid(), SIGTERM) == 0);  // the power button
  CHECK(machine.wait(Seconds(400)) == kPoweredOff);
}

}  // namespace

TEST_CASE("systemd of the cloud kernel comes to multi-user by PVH, and powers off by the power button", "[nightly]") {
  comes_to_multi_user("cloud", "vmlinux");
}

TEST_CASE("systemd of the cloud kernel comes to multi-user by bzImage", "[nightly]") {
  comes_to_multi_user("cloud", "vmlinuz");
}

TEST_CASE("systemd of the full kernel comes to multi-user by PVH", "[nightly]") {
  comes_to_multi_user("full", "vmlinux");
}

TEST_CASE("systemd of the full kernel comes to multi-user by bzImage", "[nightly]") {
  comes_to_multi_user("full", "vmlinuz");
}

TEST_CASE("systemd of the rt kernel comes to multi-user by PVH", "[nightly]") {
  comes_to_multi_user("rt", "vmlinux");
}

TEST_CASE("systemd of the rt kernel comes to multi-user by bzImage", "[nightly]") {
  comes_to_multi_user("rt", "vmlinuz");
}
