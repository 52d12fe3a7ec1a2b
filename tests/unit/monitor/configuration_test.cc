// What the monitor accepts of a machine's description, and how it words a refusal.
#include "monitor/configuration.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <sys/mman.h>

#include <random>

#include "tests/support/catch.h"

using ipc::UniqueFd;
using monitor::Configuration;
namespace schema = ipc::schema;

namespace {

constexpr const char* kName = "name: 1 to 64 of the characters A-Z a-z 0-9 . _ - are right";

// A machine that is right, for a test to change in one place.
class Wish {
 public:
  Wish() {
    machine.setKernel("/boot/vmlinuz");
    machine.setMemoryMib(16);
  }
  schema::Disk::Builder disk() {
    auto disk = machine.initDisks(1)[0];
    disk.setPath("/srv/a.img");
    return disk;
  }
  schema::Device::Builder device() {
    auto device = machine.initDevices(1)[0];
    device.setSocket("/run/net.sock");
    device.setId(1);
    return device;
  }
  ipc::Result<Configuration> check() { return monitor::check(machine.asReader()); }
  // "" if it is right.
  std::string refusal() {
    const auto result = check();
    return result ? "" : ipc::describe(result.error());
  }

 private:
  capnp::MallocMessageBuilder message_;

 public:
  schema::Machine::Builder machine = message_.initRoot<schema::Machine>();
};

UniqueFd file_of(const void* bytes, std::size_t size) {
  UniqueFd file(::memfd_create("message", MFD_CLOEXEC));
  REQUIRE(::write(file.get(), bytes, size) == static_cast<ssize_t>(size));
  return file;
}

std::string refusal_of(const UniqueFd& file) {
  const auto result = monitor::read_configuration(file);
  return result ? "" : ipc::describe(result.error());
}

}  // namespace

TEST_CASE("a machine with all defaults is right") {
  Wish wish;
  const auto machine = wish.check();
  REQUIRE(machine);
  CHECK(machine->name == "vm");
  CHECK(machine->cpus == 1);
  CHECK(machine->memory_mib == 16);
  CHECK(machine->kernel == "/boot/vmlinuz");
  CHECK(machine->initrd.empty());
  CHECK(std::holds_alternative<monitor::SerialStdio>(machine->serial));
}

TEST_CASE("a name is 1 to 64 characters that are safe in messages and paths") {
  Wish wish;
  SECTION("every right character") {
    wish.machine.setName("ABCXYZabcxyz0189._-");
    CHECK(wish.refusal() == "");
  }
  SECTION("64 of them") {
    wish.machine.setName(std::string(64, 'n').c_str());
    CHECK(wish.refusal() == "");
  }
  SECTION("65 of them") {
    wish.machine.setName(std::string(65, 'n').c_str());
    CHECK(wish.refusal() == kName);
  }
  SECTION("every other character") {
    for (int c = 1; c < 256; ++c) {
      const char character = static_cast<char>(c);
      if (c < 128 && (std::isalnum(c) || character == '.' || character == '_' || character == '-')) continue;
      wish.machine.setName(std::string(1, character).c_str());
      INFO(c);
      CHECK(wish.refusal() == kName);
    }
  }
}

TEST_CASE("a machine has 1 to 240 virtual CPUs and at least 16 MiB") {
  Wish wish;
  const auto cpus = GENERATE(0, 1, 240, 241, 65535);
  wish.machine.setCpus(static_cast<std::uint16_t>(cpus));
  CHECK(wish.refusal() ==
        (cpus >= 1 && cpus <= 240 ? "" : fmt::format("cpus: {} virtual CPUs, 1 to 240 are right", cpus)));
  wish.machine.setCpus(1);
  const auto mib = GENERATE(0u, 15u, 16u, 4294967295u);
  wish.machine.setMemoryMib(mib);
  CHECK(wish.refusal() == (mib >= 16 ? "" : fmt::format("memory: {} MiB, at least 16 are right", mib)));
}

TEST_CASE("a machine has a kernel, and a command line of at most 2047 bytes") {
  Wish wish;
  wish.machine.setCmdline(std::string(2047, 'c').c_str());
  CHECK(wish.refusal() == "");
  wish.machine.setCmdline(std::string(2048, 'c').c_str());
  CHECK(wish.refusal() == "cmdline: 2048 bytes, at most 2047 are right");
  wish.machine.setKernel("");
  CHECK(wish.refusal() == "kernel: none given; a Linux bzImage or an ELF image with a PVH note is right");
}

TEST_CASE("a disk has a path, a serial number of at most 20 bytes, at most 64 queues") {
  Wish wish;
  auto disk = wish.disk();
  SECTION("no path") {
    disk.setPath("");
    CHECK(wish.refusal() == "disk 0: it has no path");
  }
  SECTION("serial numbers") {
    disk.setSerial(std::string(20, 's').c_str());
    CHECK(wish.refusal() == "");
    disk.setSerial(std::string(21, 's').c_str());
    CHECK(wish.refusal() == "disk /srv/a.img: serial number of 21 bytes, at most 20 are right");
  }
  SECTION("queues") {
    disk.setQueues(64);
    CHECK(wish.check()->disks[0].queues == 64);
    disk.setQueues(65);
    CHECK(wish.refusal() == "disk /srv/a.img: 65 queues, at most 64 are right");
  }
  SECTION("as many queues as virtual CPUs when none are asked for, at most 16") {
    const auto cpus = GENERATE(1, 15, 16, 17, 240);
    wish.machine.setCpus(static_cast<std::uint16_t>(cpus));
    CHECK(wish.check()->disks[0].queues == std::min(cpus, 16));
  }
  SECTION("numbered serial numbers when none are given") {
    auto disks = wish.machine.initDisks(3);
    for (auto each : disks) each.setPath("/srv/b.img");
    disks[1].setSerial("mine");
    const auto machine = wish.check();
    REQUIRE(machine);
    CHECK(machine->disks[0].serial == "disk0");
    CHECK(machine->disks[1].serial == "mine");
    CHECK(machine->disks[2].serial == "disk2");
  }
}

TEST_CASE("a device has a socket, a virtio id of 1 to 63, 1 to 64 queues") {
  Wish wish;
  auto device = wish.device();
  SECTION("no socket") {
    device.setSocket("");
    CHECK(wish.refusal() == "device 0: it has no socket");
  }
  SECTION("ids") {
    const auto id = GENERATE(0, 1, 63, 64, 65535);
    device.setId(static_cast<std::uint16_t>(id));
    CHECK(wish.refusal() == (id >= 1 && id <= 63 ? ""
                                                 : fmt::format("device /run/net.sock: virtio id {}, 1 to 63 are right "
                                                               "(2 is a disk)",
                                                               id)));
  }
  SECTION("queues") {
    const auto queues = GENERATE(0, 1, 64, 65);
    device.setQueues(static_cast<std::uint16_t>(queues));
    CHECK(
        wish.refusal() ==
        (queues >= 1 && queues <= 64 ? "" : fmt::format("device /run/net.sock: {} queues, 1 to 64 are right", queues)));
  }
}

TEST_CASE("a PCI bus has room for 31 disks and devices together") {
  Wish wish;
  const auto count = GENERATE(31u, 32u);
  auto disks = wish.machine.initDisks(16);
  auto devices = wish.machine.initDevices(count - 16);
  for (auto disk : disks) disk.setPath("/srv/a.img");
  for (auto device : devices) {
    device.setSocket("/run/net.sock");
    device.setId(1);
  }
  CHECK(wish.refusal() == (count == 31 ? "" : "disks, network cards and devices: 32 of them, at most 31 are right"));
}

TEST_CASE("a serial port into a file needs the file's path") {
  Wish wish;
  auto serial = wish.machine.initSerial();
  serial.setFile("/var/log/guest");
  CHECK(std::get<monitor::SerialFile>(wish.check()->serial).path == "/var/log/guest");
  serial.setFile("");
  CHECK(wish.refusal() == "serial: the file has no path");
  serial.setPty();
  CHECK(std::holds_alternative<monitor::SerialPty>(wish.check()->serial));
  serial.setNone();
  CHECK(std::holds_alternative<monitor::SerialNone>(wish.check()->serial));
}

TEST_CASE("a description that is no message is refused in one line, whatever its bytes") {
  SECTION("none") {
    CHECK(refusal_of(UniqueFd()) == "the machine's description on descriptor 3: Bad file descriptor");
  }
  SECTION("of a size that no message has") {
    const auto size = GENERATE(std::size_t{0}, std::size_t{7}, std::size_t{(1 << 20) + 8});
    const std::string bytes(size, '\0');
    CHECK(refusal_of(file_of(bytes.data(), bytes.size())) ==
          "the machine's description on descriptor 3: Invalid argument");
  }
  SECTION("zeros: a machine of defaults, which lacks a kernel") {
    std::string bytes(64, '\0');
    bytes[4] = 7;  // one segment, of all words but the table's
    CHECK_THAT(refusal_of(file_of(bytes.data(), bytes.size())), Catch::StartsWith("kernel: none given"));
  }
  SECTION("random") {
    std::mt19937_64 random(20260101);
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::uint64_t> words(1 + random() % 64);
      for (auto& word : words) word = random() >> (random() % 64);
      words[0] &= 0x0000'00ff'0000'0003;  // a segment table that leads on
      const std::string refusal = refusal_of(file_of(words.data(), words.size() * 8));
      CHECK(refusal != "");
      CHECK(refusal.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("a damaged description is refused or read, and never harms") {
  Wish wish;
  wish.disk();
  capnp::MallocMessageBuilder copy;
  copy.setRoot(wish.machine.asReader());
  const auto whole = capnp::messageToFlatArray(copy);
  std::mt19937_64 random(42);
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::uint8_t> bytes(whole.asBytes().begin(), whole.asBytes().end());
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    const auto result = monitor::read_configuration(file_of(bytes.data(), bytes.size()));
    if (!result) {
      CHECK(ipc::describe(result.error()) != "");
      continue;
    }
    CHECK((result->cpus >= 1 && result->cpus <= 240));
    CHECK(result->memory_mib >= 16);
    CHECK(result->cmdline.size() <= 2047);
  }
}

TEST_CASE("limits leave the guest its RAM, and its processes some more") {
  Wish wish;
  auto limits = wish.machine.initLimits();
  limits.setMemoryMib(79);
  CHECK_THAT(wish.refusal(), Catch::Matchers::Contains("limits: 79 MiB of memory, at least the guest's 16 and 64"));
  limits.setMemoryMib(80);
  limits.setProcesses(100);
  limits.setCpuPercent(150);
  limits.setIoWeight(50);
  limits.setCgroup("/sys/fs/cgroup/mine");
  const auto machine = wish.check();
  REQUIRE(machine);
  CHECK(machine->limits.memory_mib == 80);
  CHECK(machine->limits.processes == 100);
  CHECK(machine->limits.cpu_percent == 150);
  CHECK(machine->limits.io_weight == 50);
  CHECK(machine->cgroup == "/sys/fs/cgroup/mine");
}
