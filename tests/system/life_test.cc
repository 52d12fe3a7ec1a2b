// How a machine ends, and that nothing of it stays behind.
#include <signal.h>

#include <thread>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/processes.h"

using namespace system_test;

namespace {

// A guest that is running, not yet booted: its kernel's first word has come out.
constexpr const char* kFirstWord = "Linux version";

Options running_guest() {
  return {.disk = new_root_disk(), .cmdline = "earlyprintk=serial,ttyS0", .quiet = false};
}

}  // namespace

TEST_CASE("a guest reboots three times in a row and finds what it wrote before", "[system]") {
  Machine machine({.disk = new_root_disk()});
  for (const char* boot : {"1\n", "2\n", "3\n", "4\n"}) {
    INFO("boot " << boot);
    REQUIRE(machine.reach_shell());
    CHECK(machine.run("echo boot >>/boots; wc -l </boots") == boot);
    if (boot[0] != '4') machine.send("sync; mount -o remount,ro /; busybox reboot -f\n");
  }
  CHECK(machine.power_off() == kPoweredOff);
  const std::string reboots = "bulkhead: vm: the guest reboots\n";
  CHECK(machine.errors() == reboots + reboots + reboots);
}

TEST_CASE("SIGTERM presses the guest's power button", "[system]") {
  Machine machine({.disk = new_root_disk()});
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("cat /sys/class/input/input0/name") == "Power Button\n");
  machine.send("head -c 24 /dev/input/event0 >/dev/null; echo button 'pressed'; busybox poweroff -f\n");
  std::this_thread::sleep_for(Seconds(5));  // until head reads
  REQUIRE(kill(machine.pid(), SIGTERM) == 0);
  CHECK(machine.expect("button pressed", kAnswer));
  CHECK(machine.wait(kAnswer) == kPoweredOff);
}

TEST_CASE("a triple fault ends the machine, with an exit status of its own", "[system]") {
  Machine machine({.disk = new_root_disk(), .cmdline = "reboot=triple"});
  REQUIRE(machine.reach_shell());
  machine.send("busybox reboot -f\n");
  CHECK(machine.wait(kAnswer) == kGuestCrashed);
  CHECK_THAT(machine.errors(), Catch::Contains("triple fault"));
}

TEST_CASE("a vcpu-host that is killed ends the machine, and the monitor says so and leaves nothing", "[system]") {
  const Footprint before = footprint();
  Machine machine(running_guest());
  REQUIRE(machine.expect(kFirstWord, kBoot));
  const std::vector<Process> children = children_of(machine.pid());
  const Process* victim = find_by_name(children, "bulkhead-vcpu-host");
  REQUIRE(victim != nullptr);
  REQUIRE(kill(victim->pid, SIGKILL) == 0);
  CHECK(machine.wait(Seconds(10)) == kChildLost);
  CHECK(machine.errors() == "bulkhead: vm: vcpu-host was lost: killed by signal 9 (Killed)\n");
  for (const Process& process : children) CHECK_FALSE(exists(process));
  CHECK(footprint() == before);
}

TEST_CASE("a monitor that is killed takes all children with it within a second", "[system]") {
  const Footprint before = footprint();
  Machine machine(running_guest());
  REQUIRE(machine.expect(kFirstWord, kBoot));
  const std::vector<Process> children = children_of(machine.pid());
  REQUIRE(children.size() == 3);  // and the spawner
  REQUIRE(kill(machine.pid(), SIGKILL) == 0);
  std::this_thread::sleep_for(Seconds(1));
  for (const Process& process : children) {
    INFO(process.name);
    CHECK_FALSE(exists(process));
  }
  machine.wait(Seconds(1));
  CHECK(footprint() == before);
}

TEST_CASE("a machine's limits hold for all of its processes together, and its cgroup goes with it", "[system]") {
  const std::string cgroup = "/sys/fs/cgroup/bulkhead/bounded";
  const auto read = [&](const std::string& file) { return run({"cat", cgroup + "/" + file}).output; };
  Options options = running_guest();
  options.more = {"--name", "bounded", "--limits", "memory=400M,processes=40,cpu=50,io-weight=50"};
  {
    Machine killed(options);
    REQUIRE(killed.expect(kFirstWord, kBoot));
    const std::string inside = "\n" + read("cgroup.procs");  // and KVM's own thread for the machine's timer
    const std::vector<Process> children = children_of(killed.pid());
    CHECK(children.size() == 3);  // and the spawner
    for (const Process& process : children) {
      INFO(process.name);
      const bool limited = inside.find("\n" + std::to_string(process.pid) + "\n") != std::string::npos;
      CHECK(limited == (process.name != "bulkhead-spawner"));
    }
    CHECK_THAT(inside, !Catch::Contains("\n" + std::to_string(killed.pid()) + "\n"));
    CHECK(read("memory.max") == "419430400\n");
    CHECK(read("pids.max") == "40\n");
    CHECK(read("cpu.max") == "50000 100000\n");
    CHECK(read("io.weight") == "default 50\n");
    CHECK_THAT(read("cpu.stat"), Catch::Contains("nr_throttled") && !Catch::Contains("nr_throttled 0\n"));
    REQUIRE(kill(killed.pid(), SIGKILL) == 0);
    killed.wait(Seconds(10));
  }
  for (int i = 0; i < 100 && run({"test", "-d", cgroup}).status == 0; ++i) std::this_thread::sleep_for(Seconds(0.05));
  CHECK(run({"test", "-d", cgroup}).status != 0);  // its spawner has removed it
  Machine machine(options);
  REQUIRE(machine.expect(kFirstWord, kBoot));
  Options second = options;
  second.disk = new_root_disk("other.ext4");
  second.more.insert(second.more.end(), {"--control", "/run/elsewhere"});
  Machine other(second);
  CHECK(other.wait(Seconds(10)) == kHostNotAble);
  CHECK_THAT(other.errors(), Catch::Contains(cgroup + ": in use by another machine"));
  REQUIRE(kill(machine.pid(), SIGINT) == 0);
  CHECK(machine.wait(Seconds(10)) == 128 + SIGINT);
  CHECK(run({"test", "-d", cgroup}).status != 0);
}
