// Unmodified kernels boot. A boot takes tens of seconds where the processor is emulated: what one guest can show is
// asked of one guest.
#include <regex>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"

using namespace system_test;

namespace {

struct Harmless {
  const char* pattern;
  const char* why;
};

// What the kernel's log may say at the level of a warning or above.
constexpr Harmless kHarmless[] = {
    {"RETBleed|Spectre|Speculative|MDS|TAA|MMIO Stale|SRSO|Inception|Zenbleed|ITS:|TSA:|VMSCAPE|Transient",
     "the processor's own vulnerabilities, which the host shows to the guest"},
    {"hrtimer: interrupt took|clocksource: Long readout interval|perf: interrupt took too long",
     "how long an interrupt takes on an emulated processor, or a loaded one"},
};

std::string complaints(Machine& machine) {
  std::istringstream log(machine.run("dmesg --notime --color=never --level=emerg,alert,crit,err,warn"));
  std::string left;
  for (std::string line; std::getline(log, line);) {
    bool harmless = line.empty();
    for (const Harmless& entry : kHarmless) harmless |= std::regex_search(line, std::regex(entry.pattern));
    if (!harmless) left += line + "\n";
  }
  return left;
}

bool matches(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex(pattern));
}

// Boots to a shell, finds its processors, is switched off.
void boots(Options options, const char* release) {
  options.disk = new_root_disk();
  Machine machine(options);
  const bool reached = machine.reach_shell();
  INFO(machine.output() << machine.errors());
  REQUIRE(reached);
  CHECK(matches(machine.run("uname -r"), release));
  CHECK(machine.run("nproc") == std::to_string(options.cpus) + "\n");
  CHECK(machine.run("lsblk -rdno NAME,SIZE") == "vda 512M\n");
  CHECK(complaints(machine) == "");
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(machine.errors() == "");
}

}  // namespace

TEST_CASE("the cloud kernel boots by PVH with 1 CPU and finds its devices right", "[system]") {
  const std::string disk = new_root_disk();
  Machine machine({.disk = disk});
  REQUIRE(machine.reach_shell());

  // The log: nothing about ACPI, PCI, virtio, APIC, or anything else that is ours.
  CHECK(complaints(machine) == "");

  // Interrupts: one MSI-X vector for configuration, one for the request queue, and the latter has fired.
  const std::string interrupts = machine.run("cat /proc/interrupts");
  INFO(interrupts);
  CHECK(matches(interrupts, R"(PCI-MSI\S* .*virtio0-config)"));
  CHECK(matches(interrupts, R"(\d+: +[1-9]\d* +PCI-MSI\S* .*virtio0-req\.0)"));

  // The device as lspci sees it: modern virtio (virtio 1.2, 4.1.2), MSI-X on, memory decoded.
  const std::string pci = machine.run("lspci -vv -d 1af4:");
  INFO(pci);
  CHECK(matches(pci, R"(Virtio.*1\.0 block device|Virtio.*block)"));
  CHECK(matches(pci, R"(MSI-X: Enable\+)"));
  CHECK(matches(pci, R"(Kernel driver in use: virtio-pci)"));
  CHECK(matches(pci, R"(VirtIO: CommonCfg)"));
  CHECK(matches(pci, R"(VirtIO: Notify)"));
  CHECK(matches(pci, R"(VirtIO: ISR)"));
  CHECK(matches(pci, R"(VirtIO: DeviceCfg)"));
  CHECK_FALSE(matches(pci, R"(access denied|unassigned|\[virtual\])"));

  // The disk and the serial number that it has unless told; lsblk asks udev for it.
  machine.run("/lib/systemd/systemd-udevd --daemon; udevadm trigger --settle --subsystem-match=block");
  CHECK(machine.run("lsblk -rdno NAME,SIZE,SERIAL") == "vda 512M disk0\n");
  CHECK(machine.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == "kvm-clock\n");

  // A file outlives the guest, bit for bit.
  const std::string sum =
      machine.run("dd if=/dev/urandom of=/written bs=64k count=32 2>/dev/null; sha256sum </written");
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(machine.errors() == "");
  const Outcome check = run({"e2fsck", "-fn", disk});
  INFO(check.output + check.errors);
  CHECK(check.status == 0);
  const std::string dump = work_file("written");
  run({"debugfs", "-R", "dump /written " + dump, disk});
  CHECK(run({"sh", "-c", "sha256sum <" + dump}).output == sum);
}

TEST_CASE("the cloud kernel boots by PVH with 4 CPUs", "[system]") {
  boots({.cpus = 4}, "cloud-amd64");
}

TEST_CASE("the cloud kernel boots as bzImage with 1 CPU", "[system]") {
  boots({.image = "vmlinuz"}, "cloud-amd64");
}

TEST_CASE("the cloud kernel boots as bzImage with 4 CPUs", "[system]") {
  boots({.image = "vmlinuz", .cpus = 4}, "cloud-amd64");
}

TEST_CASE("8 CPUs and more than 4 GiB of RAM", "[system]") {
  const std::string disk = new_root_disk();
  Machine machine({.cpus = 8, .memory = "5000M", .disk = disk});
  REQUIRE(machine.reach_shell());
  CHECK(machine.run("nproc") == "8\n");
  const std::string memory = machine.run("awk '/MemTotal/ {print ($2 > 4700 * 1024)}' /proc/meminfo");
  CHECK(memory == "1\n");
  CHECK(complaints(machine) == "");
  CHECK(machine.power_off() == kPoweredOff);
}

TEST_CASE("the full kernel boots", "[system]") {
  boots({.flavour = "full"}, R"(\d-amd64)");
}

TEST_CASE("the rt kernel boots", "[system]") {
  boots({.flavour = "rt"}, "rt-amd64");
}

TEST_CASE("memtest86+, which is not Linux, comes to its screen on the serial port", "[system]") {
  Command machine({bin("bulkhead"), "run", "--serial", "stdio", "--memory", "128M", "--kernel", guest("memtest86+"),
                   "--cmdline", "console=ttyS0"});
  CHECK(machine.expect("Memtest86+", kBoot));
  CHECK(machine.expect("Pass", kBoot));
}
