// Children that end, lie, flood or fall silent: how the monitor ends then, what it says, what it leaves.
#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <thread>

#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"

using namespace supervised;
using namespace system_test;

namespace {

constexpr int kInternalError = 6;

// A machine with one disk that does what is asked for.
struct Fixture {
  Folder folder;
  std::string disk = folder.file("disk", 512);
  std::vector<Process> children;

  Wish wish(const std::string& vcpu_host, const std::string& blk) const {
    return {.kernel = folder.file("kernel", 1), .cmdline = vcpu_host, .disks = {{disk, blk}}};
  }
  // Waits until the guest runs, and remembers its children.
  bool running(Monitor& monitor, int boot = 1) {
    const bool runs = monitor.expect("boot " + std::to_string(boot) + "\n", kPatience);
    children = children_of(monitor.pid());
    return runs;
  }
  // The child of that name, which was sent the signal.
  Process signalled(const std::string& name, int signal) const {
    const Process* const child = find_by_name(children, name);
    REQUIRE(child != nullptr);
    REQUIRE(::kill(child->pid, signal) == 0);
    return *child;
  }
  bool nothing_left() const {
    return std::ranges::none_of(children, [](const Process& child) { return exists(child); });
  }
};

std::ptrdiff_t lines_in(const std::string& text) {
  return std::ranges::count(text, '\n');
}

bool is_printable(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); });
}

struct Case {
  std::string vcpu_host, blk;
  int status;
  std::string line;  // what it begins with
};

}  // namespace

TEST_CASE("children that do as they should: the guest runs, and powers off", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  CHECK(host.children.size() == 3);  // and the spawner
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  CHECK(monitor.errors() == "");
  CHECK(host.nothing_left());
}

TEST_CASE("a child that fails ends the machine, with one line that names it and the cause", "[children]") {
  NEEDS_CHILDREN();
  const std::string out_of_turn = "it said something out of turn: Protocol error\n";
  const auto [vcpu_host, blk, status, line] = GENERATE_COPY(values<Case>({
      // before it is sealed
      {"", "exit7", kChildLost, "blk0 was lost: exit status 7\n"},
      {"", "exit0", kChildLost, "blk0 was lost: exit status 0\n"},
      {"", "trap", kChildLost, "blk0 was lost: killed by signal 4 (Illegal instruction)\n"},
      {"load:exit7", "", kChildLost, "vcpu-host was lost: exit status 7\n"},
      {"load:exit0", "", kChildLost, "vcpu-host was lost: exit status 0\n"},
      {"kvm:trap", "", kChildLost, "vcpu-host was lost: killed by signal 4 (Illegal instruction)\n"},
      // while the guest runs
      {"start:exit7", "", kChildLost, "vcpu-host was lost: exit status 7\n"},
      {"start:trap", "", kChildLost, "vcpu-host was lost: killed by signal 4 (Illegal instruction)\n"},
      // what is no message
      {"", "garbage", kInternalError, "blk0: "},
      {"", "odd", kInternalError, "blk0: control message of an odd size: Bad message\n"},
      {"", "large", kInternalError, "blk0: receive: message larger than allowed: Message too long\n"},
      {"load:garbage", "", kInternalError, "vcpu-host: "},
      {"start:odd", "", kInternalError, "vcpu-host: control message of an odd size: Bad message\n"},
      // what is not its turn
      {"load:sealed", "", kInternalError, "vcpu-host: " + out_of_turn},
      {"load:off", "", kInternalError, "vcpu-host: " + out_of_turn},
      {"kvm:off", "", kInternalError, "vcpu-host: " + out_of_turn},
      {"kvm:descriptors", "", kInternalError, "vcpu-host: " + out_of_turn},
      {"start:frames", "", kInternalError, "vcpu-host: " + out_of_turn},
      // what it says itself of its failure
      {"load:bad-config", "", kBadConfiguration, "kernel: not to be used: Invalid argument\n"},
      {"load:no-reason", "", kBadConfiguration, "it failed and gave no reason\n"},
      {"kvm:bad-host", "", kHostNotAble, "vcpu-host: something is lacking\n"},
      {"kvm:bad-self", "", kInternalError, "vcpu-host: a defect: Input/output error\n"},
      {"", "bad-host", kHostNotAble, "blk0: something is lacking\n"},
      {"load:hostile", "", kInternalError, "vcpu-host: ?[2J?bulkhead: vm: a lie?"},
  }));
  INFO("vcpu-host: " << vcpu_host << ", blk: " << blk);
  Fixture host;
  Monitor monitor(host.folder, host.wish(vcpu_host, blk));
  CHECK(monitor.wait(kPatience) == status);
  CHECK_THAT(monitor.errors(), Catch::StartsWith("bulkhead: vm: " + line));
  CHECK(lines_in(monitor.errors()) == 1);
  CHECK(monitor.errors().size() < 1200);
  CHECK(is_printable(monitor.errors()));
  CHECK(children_of(monitor.pid()).empty());
}

TEST_CASE("a guest that crashes, and what a child says of devices, reaches the operator as plain text", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  SECTION("a crash") {
    monitor.send("crash\n");
    CHECK(monitor.wait(kPatience) == kGuestCrashed);
    CHECK(monitor.errors() == "bulkhead: vm: the guest crashed: triple fault?[2J\n");
  }
  SECTION("a device that the guest has to reset") {
    monitor.send("reset-needed\noff\n");
    CHECK(monitor.wait(kPatience) == kPoweredOff);
    CHECK(monitor.errors() ==
          "bulkhead: vm: blk0: the guest goes on without it until it resets it: it does not answer?\n");
  }
  SECTION("a device that there is not") {
    monitor.send(GENERATE("no-device\n", "no-replacement\n"));
    CHECK(monitor.wait(kPatience) == kInternalError);
    CHECK(monitor.errors() == "bulkhead: vm: vcpu-host: it spoke of a device that is not there: Protocol error\n");
  }
  SECTION("a back end that was replaced 20000 times, by nobody") {
    monitor.send("replaced\n");
    CHECK(monitor.wait(kPatience) == kInternalError);
    CHECK(monitor.errors() ==
          "bulkhead: vm: vcpu-host: it spoke of a back end that it was not given: Protocol error\n");
  }
  SECTION("a back end that is lost twice") {
    monitor.send("silent\nsilent\n");
    CHECK(monitor.wait(kPatience) == kInternalError);
    CHECK(monitor.errors() == "bulkhead: vm: vcpu-host: it lost a connection that it never had: Protocol error\n");
  }
  CHECK(host.nothing_left());
}

TEST_CASE("a child that floods its log holds nobody up and fills no terminal", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("start:log", "log"));
  REQUIRE(host.running(monitor));
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  CHECK_THAT(monitor.errors(), Catch::Contains("bulkhead: vm: blk0: a line?[2J of ? many\n") &&
                                   Catch::Contains("more lines)") && Catch::Contains("vcpu-host: a line"));
  CHECK(lines_in(monitor.errors()) < 2 * (50 + 2 * 5 * 60));
  CHECK(is_printable(monitor.errors()));
}

TEST_CASE("descriptors that a child sends unasked do not stay with the monitor", "[children]") {
  NEEDS_CHILDREN();
  Fixture honest;
  Monitor plain(honest.folder, honest.wish("", ""));
  REQUIRE(honest.running(plain));
  Fixture host;
  Monitor monitor(host.folder, host.wish("", "descriptors"));
  REQUIRE(host.running(monitor));
  CHECK(open_descriptors(monitor.pid()) == open_descriptors(plain.pid()));
}

TEST_CASE("a guest that reboots gets new processes, the disk stays locked, nothing piles up", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  const std::size_t descriptors = open_descriptors(monitor.pid());
  const ipc::UniqueFd other(::open(host.disk.c_str(), O_RDWR | O_CLOEXEC));
  for (int boot = 2; boot <= 5; ++boot) {
    const std::vector<Process> before = host.children;
    monitor.send("reset\n");
    REQUIRE(host.running(monitor, boot));
    for (const Process& old : before) CHECK(exists(old) == (old.name == "bulkhead-spawner"));
    CHECK(host.children.size() == 3);  // and the spawner
    CHECK(open_descriptors(monitor.pid()) == descriptors);
    struct flock whole{};
    whole.l_type = F_WRLCK;
    CHECK(::fcntl(other.get(), F_OFD_SETLK, &whole) == -1);
  }
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  const std::string again = "bulkhead: vm: the guest reboots\n";
  CHECK(monitor.errors() == again + again + again + again);
  struct flock whole{};
  whole.l_type = F_WRLCK;
  CHECK(::fcntl(other.get(), F_OFD_SETLK, &whole) == 0);
}

TEST_CASE("SIGTERM presses the power button, the second one ends the machine", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  REQUIRE(::kill(monitor.pid(), SIGTERM) == 0);
  CHECK(monitor.expect("power button\n", kPatience));
  CHECK_FALSE(monitor.wait(Seconds(0.5)));
  REQUIRE(::kill(monitor.pid(), SIGTERM) == 0);
  CHECK(monitor.wait(kPatience) == 128 + SIGTERM);
  CHECK(monitor.errors() ==
        "bulkhead: vm: SIGTERM: pressed the power button; once more stops the machine at once\n"
        "bulkhead: vm: stopped by signal 15 (Terminated)\n");
  CHECK(host.nothing_left());
}

TEST_CASE("SIGINT, SIGHUP and SIGQUIT end the machine at once", "[children]") {
  NEEDS_CHILDREN();
  const int signal = GENERATE(SIGINT, SIGHUP, SIGQUIT);
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  REQUIRE(::kill(monitor.pid(), signal) == 0);
  CHECK(monitor.wait(kPatience) == 128 + signal);
  CHECK(lines_in(monitor.errors()) == 1);
  CHECK(host.nothing_left());
}

TEST_CASE("a vcpu-host or a spawner that is killed ends the machine, and all of its processes with it", "[children]") {
  NEEDS_CHILDREN();
  const std::string name = GENERATE("vcpu-host", "spawner");
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  host.signalled("bulkhead-" + name, SIGKILL);
  CHECK(monitor.wait(kPatience) == kChildLost);
  CHECK(monitor.errors() == "bulkhead: vm: " + name + " was lost: killed by signal 9 (Killed)\n");
  CHECK(host.nothing_left());
}

TEST_CASE("signals that are for the whole of a service are the monitor's to heed", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    for (const Process& child : host.children) CHECK(::kill(child.pid, signal) == 0);
  CHECK_FALSE(monitor.wait(Seconds(0.5)));
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  CHECK(monitor.errors() == "");
}

TEST_CASE("a back end that is killed is replaced while the guest runs, as often as it takes", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  const std::size_t descriptors = open_descriptors(monitor.pid());
  constexpr int kTimes = 40;
  for (int i = 0; i < kTimes; ++i) {
    std::this_thread::sleep_for(Seconds(0.12));  // one that is lost sooner is replaced later
    const Process victim = host.signalled("bulkhead-blk", SIGKILL);
    REQUIRE(monitor.expect("another back end for 0, 3 descriptors\n", kPatience));
    CHECK_FALSE(exists(victim));
    host.children = children_of(monitor.pid());
    CHECK(host.children.size() == 3);  // and the spawner
  }
  CHECK(open_descriptors(monitor.pid()) == descriptors);
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  CHECK_THAT(monitor.errors(),
             Catch::StartsWith("bulkhead: vm: blk0: lost (killed by signal 9 (Killed)), and back after "
                               "1.5 ms (restart 1)\n") &&
                 Catch::Contains("(restart 32)"));
  // The first 16, and 32: a guest may bring it about. And what it came to.
  CHECK(lines_in(monitor.errors()) == 18);
  CHECK_THAT(monitor.errors(),
             Catch::EndsWith("blk0: replaced 40 times; the guest waited 1.5 ms (half of them at most), "
                             "1.5 ms (99 of 100), 1.5 ms (all)\n"));
  CHECK(host.nothing_left());
}

TEST_CASE("a back end that says what it must not is replaced, less and less often", "[children]") {
  NEEDS_CHILDREN();
  const std::string action = GENERATE("sealed", "frames");
  Fixture host;
  Monitor monitor(host.folder, host.wish("", action));
  // Where it says so before the guest runs, the machine ends.
  if (host.running(monitor)) {
    REQUIRE(monitor.expect("another back end for 0", kPatience));
    std::this_thread::sleep_for(Seconds(2));
    monitor.send("off\n");
    CHECK(monitor.wait(kPatience) == kPoweredOff);
    CHECK_THAT(monitor.errors(), Catch::StartsWith("bulkhead: vm: blk0: lost (it said something out of turn"));
    CHECK(lines_in(monitor.errors()) < 13);
  } else {
    CHECK(monitor.wait(kPatience) == kInternalError);
    CHECK(monitor.errors() == "bulkhead: vm: blk0: it said something out of turn: Protocol error\n");
  }
}

TEST_CASE("a back end that has stopped answering is killed, and replaced", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  const Process victim = host.signalled("bulkhead-blk", SIGSTOP);
  monitor.send("silent\n");
  REQUIRE(monitor.expect("another back end for 0", kPatience));
  CHECK_FALSE(exists(victim));
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  CHECK_THAT(monitor.errors(), Catch::Contains("lost (it does not answer?)"));
}

TEST_CASE("a caller that ignores SIGCHLD does not hide from the monitor how its children ended", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("start:exit7", ""), "trap '' CHLD");
  CHECK(monitor.wait(kPatience) == kChildLost);
  CHECK(monitor.errors() == "bulkhead: vm: vcpu-host was lost: exit status 7\n");
}

TEST_CASE("a monitor that is killed takes its children with it within a second", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish("", ""));
  REQUIRE(host.running(monitor));
  REQUIRE(host.children.size() == 3);  // and the spawner
  REQUIRE(::kill(monitor.pid(), SIGKILL) == 0);
  std::this_thread::sleep_for(Seconds(1));
  CHECK(host.nothing_left());
}
