// What the processes of a running machine hold, compared with golden/*.txt; a device of somebody else.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/processes.h"

using namespace system_test;

namespace {

std::string golden(const std::string& name) {
  std::ifstream file(std::string(BULKHEAD_SYSTEM_GOLDEN) + "/" + name + ".txt");
  std::ostringstream text;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with('#')) text << line << "\n";
  }
  return text.str();
}

}  // namespace

TEST_CASE("every process of a running machine holds what golden/ says, in less than 12 MiB", "[system]") {
  Machine machine({.disk = new_root_disk()});
  REQUIRE(machine.reach_shell());
  const std::vector<Process> children = children_of(machine.pid());
  REQUIRE(children.size() == 3);  // and the spawner
  const Process* vcpu_host = find_by_name(children, "bulkhead-vcpu-host");
  const Process* blk = find_by_name(children, "bulkhead-blk");
  const Process* spawner = find_by_name(children, "bulkhead-spawner");
  REQUIRE(vcpu_host != nullptr);
  REQUIRE(blk != nullptr);
  REQUIRE(spawner != nullptr);

  const std::string of_spawner = describe(spawner->pid, spawner->pid);
  const std::string of_monitor = describe(machine.pid(), machine.pid());
  const std::string of_vcpu_host = describe(vcpu_host->pid, spawner->pid);
  const std::string of_blk = describe(blk->pid, spawner->pid);
  CHECK(of_spawner == golden("spawner"));
  CHECK(of_monitor == golden("monitor"));
  CHECK(of_vcpu_host == golden("vcpu-host"));
  CHECK(of_blk == golden("blk"));

  // What design.md promises, said again here so that no change of a golden file can take it back.
  CHECK_THAT(of_blk, !Catch::Contains("kvm"));
  for (const std::string& process : {of_monitor, of_spawner}) CHECK_THAT(process, !Catch::Contains("memfd:guest-ram"));
  CHECK_THAT(of_vcpu_host, !Catch::Contains("descriptor file") && !Catch::Contains("descriptor /dev/kvm"));
  // CAP_DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_ADMIN, SYSLOG: what it takes to start
  // children again.
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) CHECK(status_field(spawner->pid, set) == "00000004002005e2");
  CHECK(status_field(machine.pid(), "Uid") != status_field(spawner->pid, "Uid"));
  CHECK_THAT(of_monitor, Catch::Contains("CapEff: none") && Catch::Contains("Seccomp: 2") &&
                             Catch::Contains("NoNewPrivs: 1") && !Catch::Contains("file bulkhead-blk"));
  for (const std::string& child : {of_vcpu_host, of_blk}) {
    CHECK_THAT(child, Catch::Contains("CapEff: none") && Catch::Contains("Seccomp: 2") &&
                          Catch::Contains("NoNewPrivs: 1") && Catch::Contains("root: 0 entries"));
  }

  const std::uint64_t monitor_kib = own_memory_kib(machine.pid());
  const std::uint64_t spawner_kib = own_memory_kib(spawner->pid);
  const std::uint64_t vcpu_host_kib = own_memory_kib(vcpu_host->pid);
  const std::uint64_t blk_kib = own_memory_kib(blk->pid);
  const std::uint64_t sum = spawner_kib + monitor_kib + vcpu_host_kib + blk_kib;
  std::cout << "PSS beside guest RAM: spawner " << spawner_kib << " KiB, monitor " << monitor_kib << " KiB, vcpu-host "
            << vcpu_host_kib << " KiB, blk " << blk_kib << " KiB, together " << sum << " KiB\n";
  CHECK(sum > 0);
  CHECK(sum <= 12 * 1024);
  CHECK(machine.power_off() == kPoweredOff);
}

TEST_CASE("a network card's process holds its way out, and neither files nor a network", "[system][net]") {
  Machine machine({.disk = new_root_disk(), .more = {"--net", "tap=bhtest"}});
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("modprobe virtio_net && ip link set eth0 up; echo $?") == "0\n");
  const Process* net = nullptr;
  const std::vector<Process> children = children_of(machine.pid());
  net = find_by_name(children, "bulkhead-net");
  REQUIRE(net != nullptr);
  const pid_t spawner = find_by_name(children, "bulkhead-spawner")->pid;
  const std::string of_net = describe(net->pid, spawner);
  CHECK(of_net == golden("net"));
  CHECK_THAT(of_net, !Catch::Contains("kvm") && !Catch::Contains("descriptor file"));
  CHECK_THAT(of_net, Catch::Contains("CapEff: none") && Catch::Contains("Seccomp: 2") &&
                         Catch::Contains("NoNewPrivs: 1") && Catch::Contains("root: 0 entries"));
  // Others have nothing of it.
  for (const char* other : {"bulkhead-vcpu-host", "bulkhead-blk"})
    CHECK_THAT(describe(find_by_name(children, other)->pid, spawner), !Catch::Contains("/dev/net/tun"));
  CHECK(machine.power_off() == kPoweredOff);
}

TEST_CASE("a back end that nobody here wrote, qemu-storage-daemon, serves a disk", "[system][virtio-5.2]") {
  const std::string image = work_file("third-party.img");
  REQUIRE(run({"truncate", "-s", "64M", image}).status == 0);
  const std::string socket = "/run/third-party.sock";
  Command back_end({"qemu-storage-daemon", "--blockdev", "file,node-name=disk,filename=" + image, "--export",
                    "vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=" + socket});
  for (int tries = 0; tries < 300 && access(socket.c_str(), F_OK) != 0; ++tries) usleep(100'000);
  REQUIRE(access(socket.c_str(), F_OK) == 0);

  Machine machine({.disk = new_root_disk(), .more = {"--device", "vhost-user,socket=" + socket + ",id=2"}});
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("lsblk -rdno NAME,SIZE /dev/vdb") == "vdb 64M\n");
  const std::string written = machine.run(
      "dd if=/dev/urandom of=/random bs=64k count=16 2>/dev/null; dd if=/random of=/dev/vdb bs=64k oflag=direct "
      "2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; sha256sum </random");
  CHECK(machine.run("dd if=/dev/vdb bs=64k count=16 iflag=direct 2>/dev/null | sha256sum") == written);
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(run({"sh", "-c", "head -c 1048576 " + image + " | sha256sum"}).output == written);
}
