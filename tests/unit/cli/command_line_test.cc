// From words to a machine: what each option says, and how a mistake is answered.
#include <algorithm>

#include "tests/support/catch.h"
#include "tests/unit/cli/asked.h"

namespace cli::test {
namespace {

namespace schema = ipc::schema;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

// `bulkhead run --kernel k` and more.
Words run_with(const Words& more) {
  Words words{"run", "--kernel", "k"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

SCENARIO("run: a kernel alone makes a machine of the schema's defaults", "[cli]") {
  const Asked asked({"run", "--kernel", "/boot/vmlinuz"});
  REQUIRE(asked.error().empty());
  const auto machine = asked.machine().value();
  CHECK(text(machine.getKernel()) == "/boot/vmlinuz");
  CHECK(text(machine.getName()).empty());
  CHECK(text(machine.getInitrd()).empty());
  CHECK(text(machine.getCmdline()).empty());
  CHECK(machine.getCpus() == 1);
  CHECK(machine.getMemoryMib() == 512);
  CHECK(machine.getDisks().size() == 0);
  CHECK(machine.getDevices().size() == 0);
  CHECK(machine.getSerial().isStdio());
}

SCENARIO("run: each option reaches its field", "[cli]") {
  const Asked asked(run_with({"--initrd", "i", "--cmdline", "root=/dev/vda1 console=ttyS0", "--cpus", "4", "--memory",
                              "2G", "--name", "web1", "--libexec", "/opt/bulkhead"}));
  REQUIRE(asked.error().empty());
  const auto machine = asked.machine().value();
  CHECK(text(machine.getInitrd()) == "i");
  CHECK(text(machine.getCmdline()) == "root=/dev/vda1 console=ttyS0");
  CHECK(machine.getCpus() == 4);
  CHECK(machine.getMemoryMib() == 2048);
  CHECK(text(machine.getName()) == "web1");
  CHECK(asked.as<RunCommand>()->libexec == "/opt/bulkhead");
}

SCENARIO("run: memory is a number of M, G, T, or of MiB", "[cli]") {
  struct Size {
    std::string typed;
    std::uint32_t mib;
  };
  const auto size = GENERATE(Size{"1", 1}, Size{"512", 512}, Size{"512M", 512}, Size{"2G", 2048}, Size{"1T", 1 << 20},
                             Size{"4294967295", 4294967295}, Size{"4194303G", 4294966272});
  INFO(size.typed);
  const Asked asked(run_with({"--memory", size.typed}));
  CHECK(asked.error().empty());
  REQUIRE(asked.machine());
  CHECK(asked.machine()->getMemoryMib() == size.mib);
}

SCENARIO("run: a disk has a path, and more if it says so", "[cli]") {
  struct Typed {
    std::string option, path;
    bool readonly;
    std::string serial;
    unsigned queues;
  };
  const auto typed =
      GENERATE(Typed{"path=d.img", "d.img", false, "", 0}, Typed{"path=d.img,readonly=on", "d.img", true, "", 0},
               Typed{"path=d.img,readonly=off", "d.img", false, "", 0},
               Typed{"queues=4,serial=data,readonly=on,path=/dev/vg/lv", "/dev/vg/lv", true, "data", 4},
               Typed{"path=a=b", "a=b", false, "", 0}, Typed{"path=a,,b,serial=c,,d", "a,b", false, "c,d", 0});
  INFO(typed.option);
  const Asked asked(run_with({"--disk", typed.option}));
  CHECK(asked.error().empty());
  REQUIRE(asked.machine());
  REQUIRE(asked.machine()->getDisks().size() == 1);
  const auto disk = asked.machine()->getDisks()[0];
  CHECK(text(disk.getPath()) == typed.path);
  CHECK(disk.getReadonly() == typed.readonly);
  CHECK(text(disk.getSerial()) == typed.serial);
  CHECK(disk.getQueues() == typed.queues);
}

SCENARIO("run: a network card has a way out, and more if it says so", "[cli]") {
  const Asked asked(run_with({"--net", "tap", "--net", "tap=web1,bridge=br0,queues=2,mtu=9000,mac=52:54:00:12:34:56",
                              "--net", "user,hostfwd=tcp:2222:22 udp:53:53,spoofing=on", "--net",
                              "pair=/run/a=b,address=10.0.0.5 fd00::5,flood=100"}));
  REQUIRE(asked.error().empty());
  const auto nets = asked.machine()->getNets();
  REQUIRE(nets.size() == 4);
  CHECK(nets[0].isTap());
  CHECK(text(nets[0].getTap().getName()).empty());
  CHECK(nets[0].getMtu() == 1500);
  CHECK(nets[0].getQueuePairs() == 1);
  CHECK_FALSE(nets[0].getAllowSpoofing());
  CHECK(text(nets[1].getTap().getName()) == "web1");
  CHECK(text(nets[1].getTap().getBridge()) == "br0");
  CHECK(nets[1].getQueuePairs() == 2);
  CHECK(nets[1].getMtu() == 9000);
  CHECK(text(nets[1].getMac()) == "52:54:00:12:34:56");
  REQUIRE(nets[2].isUser());
  REQUIRE(nets[2].getUser().getForwards().size() == 2);
  CHECK(text(nets[2].getUser().getForwards()[1]) == "udp:53:53");
  CHECK(nets[2].getAllowSpoofing());
  CHECK(text(nets[3].getPair()) == "/run/a=b");
  REQUIRE(nets[3].getAddresses().size() == 2);
  CHECK(text(nets[3].getAddresses()[1]) == "fd00::5");
  CHECK(nets[3].getFlood() == 100);
}

SCENARIO("run: a network card that makes no sense is refused, by name", "[cli]") {
  for (const std::string wrong :
       {"", "tun", "user=x", "pair", "pair=", "tap,speed=1", "tap,hostfwd=tcp:1:1", "user,bridge=b", "tap,mtu=x",
        "tap,queues=0", "tap,spoofing=maybe", "tap,mtu=1,mtu=2"}) {
    INFO(wrong);
    CHECK_THAT(Asked(run_with({"--net", wrong})).error(), Contains("--net"));
  }
}

SCENARIO("run: disks and devices keep the order in which they are given", "[cli]") {
  const Asked asked(run_with({"--disk", "path=a", "--device", "vhost-user,socket=s1,id=1", "--disk", "path=b",
                              "--device", "vhost-user,id=26,queues=2,socket=s2"}));
  REQUIRE(asked.error().empty());
  const auto machine = asked.machine().value();
  REQUIRE(machine.getDisks().size() == 2);
  CHECK(text(machine.getDisks()[0].getPath()) == "a");
  CHECK(text(machine.getDisks()[1].getPath()) == "b");
  REQUIRE(machine.getDevices().size() == 2);
  CHECK(text(machine.getDevices()[0].getSocket()) == "s1");
  CHECK(machine.getDevices()[0].getId() == 1);
  CHECK(machine.getDevices()[0].getQueues() == 1);
  CHECK(text(machine.getDevices()[1].getSocket()) == "s2");
  CHECK(machine.getDevices()[1].getId() == 26);
  CHECK(machine.getDevices()[1].getQueues() == 2);
}

SCENARIO("run: the serial port is one of four", "[cli]") {
  struct Port {
    std::string typed;
    schema::Serial::Which which;
  };
  const auto port = GENERATE(Port{"stdio", schema::Serial::STDIO}, Port{"pty", schema::Serial::PTY},
                             Port{"none", schema::Serial::NONE}, Port{"file=/var/log/vm", schema::Serial::FILE});
  INFO(port.typed);
  const Asked asked(run_with({"--serial", port.typed}));
  CHECK(asked.error().empty());
  REQUIRE(asked.machine());
  CHECK(asked.machine()->getSerial().which() == port.which);
  if (port.which == schema::Serial::FILE) CHECK(text(asked.machine()->getSerial().getFile()) == "/var/log/vm");
}

SCENARIO("A mistake is answered by one line that names it and what would be right", "[cli]") {
  struct Mistake {
    Words words;
    std::string named, right;
  };
  const auto mistake = GENERATE(values<Mistake>({
      {{}, "no command", "run, inspect, device or doctor"},
      {{"boot"}, "boot: unknown command", "run, inspect, device or doctor"},
      {{"--frobnicate"}, "--frobnicate: unknown option", "--help"},
      {{"run"}, "--kernel: it is missing", "run machine.json"},
      {{"run", "--kernel"}, "--kernel: its value is missing", "bzImage"},
      {run_with({"--kernel", "k2"}), "--kernel: given 2 times", "once"},
      {run_with({"--memroy", "2G"}), "--memroy: unknown option of run", "--memory"},
      {run_with({"--cpus", "0"}), "--cpus 0", "from 1 to 65535"},
      {run_with({"--cpus", "99999999"}), "--cpus 99999999", "from 1 to 65535"},
      {run_with({"--cpus", "two"}), "--cpus two", "from 1 to 65535"},
      {run_with({"--cpus", "4x"}), "--cpus 4x", "from 1 to 65535"},
      {run_with({"--memory", "0"}), "--memory 0", "512M or 2G"},
      {run_with({"--memory", "12X"}), "--memory 12X", "512M or 2G"},
      {run_with({"--memory", "M"}), "--memory M", "512M or 2G"},
      {run_with({"--memory", "-1"}), "--memory", "512M"},
      {run_with({"--memory", "4194304G"}), "--memory 4194304G", "512M or 2G"},
      {run_with({"--memory", "5000T"}), "--memory 5000T", "512M or 2G"},
      {run_with({"--disk", "d.img"}), "--disk: unknown part \"d.img\"", "path=FILE"},
      {run_with({"--disk", "path=d,size=1G"}), "--disk: unknown part \"size=1G\"", "path=FILE"},
      {run_with({"--disk", "path=d,readonly=yes"}), "readonly=yes", "on or off"},
      {run_with({"--disk", "path=d,cache=none"}), "cache=none", "auto, direct or writeback"},
      {run_with({"--disk", "path=d,queues=0"}), "queues 0", "from 1"},
      {run_with({"--disk", "path=d,queues=65536"}), "queues 65536", "65535"},
      {run_with({"--disk", "path=d,path=e"}), "path is there twice", "--disk"},
      {run_with({"--disk", "readonly=on"}), "no path", "path=FILE"},
      {run_with({"--disk", "path="}), "no path", "path=FILE"},
      {run_with({"--device", "tap,socket=s,id=1"}), "unknown kind \"tap\"", "vhost-user,socket=PATH"},
      {run_with({"--device", "vhost-user,id=1"}), "no socket", "socket=PATH"},
      {run_with({"--device", "vhost-user,socket=s"}), "no id", "id=NUMBER"},
      {run_with({"--device", "vhost-user,socket=s,id=net"}), "id net", "a whole number"},
      {run_with({"--serial", "tty"}), "--serial tty", "stdio, pty, none or file=PATH"},
      {run_with({"--serial", "file="}), "--serial file=", "file=PATH"},
      {run_with({"machine.json"}), "--kernel: not beside machine.json", "--name"},
      {{"run", "a.json", "b.json"}, "b.json", "one file"},
      {{"doctor", "--fast"}, "--fast: unknown option of doctor", "--json"},
      {{"doctor", "me"}, "me: not expected", "doctor"},
      {run_with({"--require", "selinux"}), "--require selinux", "landlock:N"},
      {run_with({"--require", "landlock:0"}), "--require landlock:0", "landlock:N"},
      {run_with({"--require", "landlock:4x"}), "--require landlock:4x", "landlock:N"},
      {run_with({"--limits", "memory=1x"}), "--limits: memory 1x", "512M or 2G"},
      {run_with({"--limits", "cpu=0"}), "--limits: cpu 0", "from 1"},
      {run_with({"--limits", "disk=5"}), "unknown part \"disk=5\"", "io-weight=N"},
      {{"inspect"}, "inspect: no machine", "inspect NAME"},
      {{"inspect", "web1", "--fast"}, "--fast: unknown option of inspect", "--json"},
      {{"device"}, "device: ", "device restart VM DEVICE"},
      {{"device", "restart", "web1"}, "device restart: ", "web1 blk0"},
      {{"device", "restart", "web1", "blk0", "blk1"}, "blk1: not expected", "restart"},
  }));
  const Asked asked(mistake.words);
  CHECK_THAT(asked.error(), Contains(mistake.named));
  CHECK_THAT(asked.error(), Contains(mistake.right));
  CHECK(std::ranges::count(asked.error(), '\n') == 0);
}

SCENARIO("Help teaches: examples, machine.json, and each exit status", "[cli]") {
  const Asked asked({"run", "--help"});
  REQUIRE(asked.as<ShowText>() != nullptr);
  const std::string& help = asked.as<ShowText>()->text;
  for (const char* taught :
       {"--kernel", "--initrd", "--cmdline", "--disk", "--device", "--cpus", "--memory", "--name", "--serial",
        "Examples:", "machine.json", "\"memoryMib\": 2048", "Exit status:", "128+N", "triple fault"})
    CHECK_THAT(help, Contains(taught));
}

SCENARIO("The other things that can be asked", "[cli]") {
  const Asked version({"--version"});
  REQUIRE(version.as<ShowText>() != nullptr);
  CHECK_THAT(version.as<ShowText>()->text, StartsWith("bulkhead "));

  const Asked help({"--help"});
  REQUIRE(help.as<ShowText>() != nullptr);
  CHECK_THAT(help.as<ShowText>()->text, Contains("doctor") && Contains("run"));

  struct Doctor {
    Words words;
    Report report;
  };
  for (const Doctor& doctor : {Doctor{{"doctor"}, Report::Table}, Doctor{{"doctor", "--json"}, Report::Json},
                               Doctor{{"doctor", "--kernel"}, Report::Kernel}}) {
    const Asked asked(doctor.words);
    REQUIRE(asked.as<DoctorCommand>() != nullptr);
    CHECK(asked.as<DoctorCommand>()->report == doctor.report);
  }
}

}  // namespace cli::test
