// What an operator can get wrong, where a KVM is needed to see it: one line that names the thing, an exit status,
// nothing left behind.
#include <algorithm>
#include <fstream>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/processes.h"

using namespace system_test;

namespace {

struct Wrong {
  std::string what;
  std::vector<std::string> arguments;
  std::string names;  // what the message must name
  int status = kBadConfiguration;
};

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

std::vector<Wrong> wrong_inputs() {
  const std::string empty = work_file("empty");
  const std::string text = work_file("text");
  const std::string cut = work_file("cut");
  const std::string odd = work_file("odd.img");
  write_file(empty, "");
  write_file(text, std::string(100'000, 'x'));
  run({"sh", "-c", "head -c 100000 " + guest("cloud/vmlinuz") + " >" + cut});
  write_file(odd, std::string(1000, '\0'));
  const std::string kernel = guest("cloud/vmlinuz");
  return {
      {"missing kernel", {"--kernel", work_file("absent")}, work_file("absent")},
      {"empty kernel", {"--kernel", empty}, "kernel: the file is empty"},
      {"kernel of a wrong format", {"--kernel", text}, "kernel: unknown format"},
      {"truncated kernel", {"--kernel", cut}, "kernel: truncated"},
      {"directory as kernel", {"--kernel", "/run"}, "/run"},
      {"initial RAM disk larger than RAM",
       {"--kernel", kernel, "--initrd", guest("full/vmlinux"), "--memory", "56M"},
       "initial RAM disk of"},
      {"image that is no multiple of 512", {"--kernel", kernel, "--disk", "path=" + odd}, odd},
      {"missing image", {"--kernel", kernel, "--disk", "path=" + work_file("absent")}, work_file("absent")},
      {"no RAM", {"--kernel", kernel, "--memory", "0"}, "memory"},
      {"more RAM than the host has", {"--kernel", kernel, "--memory", "4000000M"}, "4000000"},
      {"no CPU", {"--kernel", kernel, "--cpus", "0"}, "cpus"},
      {"too many CPUs", {"--kernel", kernel, "--cpus", "1000"}, "1000"},
      {"unknown option", {"--kernel", kernel, "--colour"}, "colour"},
      {"nothing listens",
       {"--kernel", kernel, "--device", "vhost-user,socket=/run/absent.sock,id=2"},
       "/run/absent.sock",
       kHostNotAble},
  };
}

}  // namespace

TEST_CASE("what an operator gets wrong is said in one line, and leaves nothing behind", "[system]") {
  const std::vector<Wrong> inputs = wrong_inputs();
  const Footprint before = footprint();
  for (const Wrong& wrong : inputs) {
    std::vector<std::string> command{bin("bulkhead"), "run", "--serial", "stdio"};
    command.insert(command.end(), wrong.arguments.begin(), wrong.arguments.end());
    const Outcome outcome = run(command, Seconds(60));
    INFO(wrong.what << ": " << outcome.errors);
    CHECK(outcome.status == wrong.status);
    CHECK(std::ranges::count(outcome.errors, '\n') == 1);
    CHECK_THAT(outcome.errors, Catch::Contains(wrong.names));
    CHECK(outcome.output == "");
    CHECK(footprint() == before);
  }
}

TEST_CASE("a disk that another machine writes is refused by its name", "[system]") {
  const std::string disk = new_root_disk();
  Machine first({.disk = disk, .cmdline = "earlyprintk=serial,ttyS0", .quiet = false});
  REQUIRE(first.expect("Linux version", kBoot));
  Machine second({.disk = disk});
  CHECK(second.wait(Seconds(60)) == kBadConfiguration);
  CHECK_THAT(second.errors(), Catch::Contains(disk));
}

TEST_CASE("a host without /dev/kvm is told so", "[system]") {
  // Its own mount namespace: the test's /dev stays as it is.
  const Outcome outcome = run({"unshare", "-m", "sh", "-c",
                               "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec \"$0\" run --kernel \"$1\"",
                               bin("bulkhead"), guest("cloud/vmlinux")});
  INFO(outcome.errors);
  CHECK(outcome.status == kHostNotAble);
  CHECK_THAT(outcome.errors, Catch::Contains("/dev/kvm"));
}
