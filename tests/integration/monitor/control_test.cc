// What operators ask of a running machine, by `bulkhead inspect` and `bulkhead device`.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

#include "ipc/unix_socket.h"
#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"

using namespace supervised;
using namespace system_test;
using Catch::Matchers::Contains;

namespace {

struct Fixture {
  Folder folder;
  std::string control = folder.at("run/vm");

  Wish wish() const {
    return {.kernel = folder.file("kernel", 1), .disks = {{folder.file("disk", 512)}}, .control = control};
  }
  Outcome bulkhead(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead");
    return run(arguments);
  }
  Outcome restart(const std::string& device, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"device", "restart", control, device};
    words.insert(words.end(), more.begin(), more.end());
    return bulkhead(words);
  }
};

bool is_there(const std::string& path) {
  return std::filesystem::exists(path);
}

// Programs of this test, which children of another uid must reach.
std::string program_for_children(const Folder& folder, const std::string& source) {
  std::filesystem::permissions(folder.at("."), std::filesystem::perms(0711));
  std::filesystem::copy_file(source, folder.at("program"), std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(folder.at("program"), std::filesystem::perms(0755));
  return folder.at("program");
}

}  // namespace

TEST_CASE("a control folder is its owner's, and goes with the machine", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  {
    Monitor monitor(host.folder, host.wish());
    REQUIRE(monitor.expect("boot 1\n", kPatience));
    struct stat status{};
    REQUIRE(::stat(host.control.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
    for (const char* name : {"/control", "/blk0"}) {
      REQUIRE(::stat((host.control + name).c_str(), &status) == 0);
      CHECK((status.st_mode & 0777) == 0600);
    }
    SECTION("no second machine is controlled there") {
      Monitor second(host.folder, {.kernel = host.folder.file("kernel2", 1), .control = host.control});
      CHECK(second.wait(kPatience) == kBadConfiguration);
      CHECK_THAT(second.errors(), Contains(host.control + ": another machine uses it"));
      CHECK(host.bulkhead({"inspect", host.control}).status == 1);
    }
    SECTION("one that was killed leaves it to the next") {
      REQUIRE(::kill(monitor.pid(), SIGKILL) == 0);
      CHECK(monitor.wait(kPatience) == 128 + SIGKILL);
      Monitor next(host.folder, host.wish());
      REQUIRE(next.expect("boot 1\n", kPatience));
      CHECK_THAT(host.bulkhead({"inspect", host.control}).output, Contains("the guest runs"));
      next.send("off\n");
      CHECK(next.wait(kPatience) == kPoweredOff);
    }
    monitor.send("off\n");
    static_cast<void>(monitor.wait(kPatience));
  }
  CHECK_FALSE(is_there(host.control));
  SECTION("one that others may look into is refused") {
    std::filesystem::create_directories(host.control);
    std::filesystem::permissions(host.control, std::filesystem::perms(0755));
    Monitor monitor(host.folder, host.wish());
    CHECK(monitor.wait(kPatience) == kBadConfiguration);
    CHECK_THAT(monitor.errors(), Contains("0700"));
    CHECK(is_there(host.control));  // it was not ours to remove
  }
  CHECK_THAT(host.bulkhead({"inspect", "nobody"}).errors, Contains("nobody: no machine of that name runs"));
  CHECK(host.bulkhead({"inspect", "nobody"}).status == 2);
}

TEST_CASE("a monitor that is killed leaves no control folder behind", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish());
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  const auto children = children_of(monitor.pid());
  REQUIRE(::kill(monitor.pid(), SIGKILL) == 0);
  CHECK(monitor.wait(kPatience) == 128 + SIGKILL);
  for (int i = 0; i < 100 && is_there(host.control); ++i) std::this_thread::sleep_for(Seconds(0.01));
  CHECK_FALSE(is_there(host.control));
  for (const Process& child : children) CHECK((child.name == "bulkhead-spawner" || !exists(child)));
}

TEST_CASE("inspect sees that a process without a filter is weaker than it should be", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish());
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  const Outcome table = host.bulkhead({"inspect", host.control});
  INFO(table.output);
  CHECK(table.status == 1);  // the fakes enter none
  if (::geteuid() == 0)
    CHECK_THAT(table.output, Contains("system calls     1 of 1 threads may make ") && Contains(" calls   <- WEAK"));
  CHECK_THAT(table.output, Contains("sealed           not yet   <- WEAK"));
  CHECK_THAT(table.output, Contains("spawner (") && Contains("system calls     all but 37\n"));
  CHECK_THAT(table.output, Contains("monitor (") && Contains("system calls     33: accept4, brk,"));
  CHECK_THAT(table.output, Contains("namespaces       own pid, mnt, net, ipc, uts, cgroup"));
  CHECK_THAT(table.output, Contains("files in sight   0\n") && Contains("capabilities     none\n"));
  CHECK_THAT(table.output, Contains("blk0 (") && Contains("vcpu-host ("));
  const Outcome json = host.bulkhead({"inspect", host.control, "--json"});
  CHECK(json.status == 1);
  CHECK_THAT(json.output, Contains("\"strong\": false") && Contains("\"name\": \"blk0\""));
}

TEST_CASE("inspect sees a monitor that has given everything up", "[children]") {
  NEEDS_CHILDREN();
  if (::geteuid() != 0) SKIP_TEST("only root has something to give up");
  Fixture host;
  Monitor monitor(host.folder, host.wish());
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  const std::string table = host.bulkhead({"inspect", host.control}).output;
  const std::size_t begin = table.find("\nmonitor ("), end = table.find("\nvcpu-host (");
  REQUIRE(begin < end);
  const std::string of_monitor = table.substr(begin, end - begin);
  INFO(of_monitor);
  CHECK_THAT(of_monitor, !Contains("WEAK") && Contains("capabilities     none\n") && !Contains("uid              0\n"));
  CHECK_THAT(of_monitor, Contains("no new privileges, not dumpable") && Contains("to be traced     by root alone"));
}

TEST_CASE("inspect holds processes against what the configuration requires", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Wish wish = host.wish();
  wish.disks[0].serial = "layers00011";
  const bool more = GENERATE(false, true);
  wish.required = {ipc::schema::Isolation::Layer::NOT_DUMPABLE};
  if (more) wish.required.push_back(ipc::schema::Isolation::Layer::SECCOMP);
  Monitor monitor(host.folder, wish);
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  const std::string table = host.bulkhead({"inspect", host.control}).output;
  INFO(table);
  const std::size_t sealed = table.find("no new privileges, not dumpable;", table.find("\nblk0 ("));
  REQUIRE(sealed != std::string::npos);
  const std::string of_blk = table.substr(sealed, table.find("to be traced", sealed) - sealed);
  CHECK_THAT(of_blk, Contains("lacks deny write and execute, Landlock, seccomp, core"));
  CHECK((of_blk.find("WEAK") != std::string::npos) == more);
}

TEST_CASE("a device's process is replaced when an operator asks, by another program if he likes", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish());
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  SECTION("by the same") {
    REQUIRE(host.restart("blk0").status == 0);
    REQUIRE(monitor.expect("another back end for 0", kPatience));
    CHECK_THAT(host.bulkhead({"inspect", host.control}).output,
               Contains("1 times, last: asked by the operator") && Contains("the guest waited"));
  }
  SECTION("by another") {
    REQUIRE(host.restart("blk0", {"--binary", program_for_children(host.folder, FAKE_CHILD)}).status == 0);
    REQUIRE(monitor.expect("another back end for 0", kPatience));
    const auto children = children_of(monitor.pid());
    const Process* blk = find_by_name(children, "bulkhead-blk");
    REQUIRE(blk != nullptr);
    std::error_code error;
    CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(blk->pid) + "/exe", error).filename() == "program");
  }
  SECTION("by one that does not serve: the old one serves again") {
    REQUIRE(host.restart("blk0", {"--binary", program_for_children(host.folder, "/bin/busybox")}).status == 0);
    REQUIRE(monitor.expect("another back end for 0", kPatience));  // it ends before it is given a connection, or after
    for (int i = 0; i < 100 && monitor.errors().find("the old one is started") == std::string::npos; ++i)
      static_cast<void>(monitor.wait(Seconds(0.1)));
    CHECK_THAT(monitor.errors(),
               Contains("blk0: the new program does not serve") && Contains("the old one is started"));
  }
  SECTION("what cannot be is refused by one line") {
    CHECK_THAT(host.restart("blk7").errors, Contains("blk7: this machine has no such device"));
    CHECK_THAT(host.restart("blk0", {"--binary", "/nowhere"}).errors, Contains("/nowhere: No such file"));
  }
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
}

TEST_CASE("clients that flood or say nonsense are disconnected, and the machine does not mind", "[children]") {
  NEEDS_CHILDREN();
  Fixture host;
  Monitor monitor(host.folder, host.wish());
  REQUIRE(monitor.expect("boot 1\n", kPatience));
  const std::size_t before = open_descriptors(monitor.pid());
  for (int i = 0; i < 300; ++i) {
    const auto client = ipc::connect_unix(host.control + "/control", SOCK_SEQPACKET);
    if (!client) continue;
    const std::string nonsense(64, '\xff');
    static_cast<void>(::send(client->get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  }
  ::sleep(2);  // a second's worth of requests later others are heard again
  CHECK_THAT(host.bulkhead({"inspect", host.control}).output, Contains("the guest runs"));
  CHECK(open_descriptors(monitor.pid()) <= before + 1);
  monitor.send("off\n");
  CHECK(monitor.wait(kPatience) == kPoweredOff);
}
