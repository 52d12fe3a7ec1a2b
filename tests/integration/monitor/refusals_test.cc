// What the monitor refuses before it starts a child: one line, and the exit status for it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"

using namespace supervised;
using namespace system_test;

namespace {

struct Refusal {
  int status;
  std::string line;
};

Refusal refusal_of(const Folder& folder, const Wish& wish, const std::string& prelude = ":") {
  Monitor monitor(folder, wish, prelude);
  const int status = monitor.wait(kPatience).value_or(-1);
  CHECK(monitor.output() == "");
  return {status, monitor.errors()};
}

}  // namespace

TEST_CASE("what the operator got wrong ends the monitor with status 2 and one line") {
  const Folder folder;
  Wish wish{.kernel = folder.file("kernel", 1)};
  std::string line;
  SECTION("no kernel asked for") {
    wish.kernel = "";
    line = "kernel: none given; a Linux bzImage or an ELF image with a PVH note is right";
  }
  SECTION("a kernel that is not there") {
    wish.kernel = folder.at("nothing");
    line = "kernel " + wish.kernel + ": No such file or directory";
  }
  SECTION("a disk that is empty") {
    wish.disks = {{folder.file("disk", 0)}};
    line = "disk " + folder.at("disk") + ": it is empty";
  }
  SECTION("a disk of an odd size") {
    wish.disks = {{folder.file("disk", 1000)}};
    line = "disk " + folder.at("disk") + ": 1000 bytes, a multiple of 512 is right";
  }
  SECTION("a disk that is a fifo") {
    REQUIRE(::mkfifo(folder.at("disk").c_str(), 0600) == 0);
    wish.disks = {{folder.at("disk")}};
    line = "disk " + folder.at("disk") + ": neither a regular file nor a block device";
  }
  SECTION("a disk that another program writes to") {
    wish.disks = {{folder.file("disk", 512)}};
    line = "disk " + folder.at("disk") +
           ": in use by another virtual machine or program (it is locked); readonly=on shares it between readers";
  }
  SECTION("more memory than there is") {
    wish.memory_mib = 4'294'967'295;
    line = "memory: 4294967295 MiB, but this host has ";
  }
  const ipc::UniqueFd holder(::open(folder.at("disk").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  struct flock whole{};
  whole.l_type = F_WRLCK;
  if (holder) ::fcntl(holder.get(), F_OFD_SETLK, &whole);

  const Refusal refusal = refusal_of(folder, wish);
  CHECK(refusal.status == kBadConfiguration);
  const bool no_name = wish.kernel.empty();  // where nothing is known of the machine
  CHECK_THAT(refusal.line, Catch::StartsWith((no_name ? "bulkhead: run: " : "bulkhead: vm: ") + line));
  CHECK(refusal.line.find('\n') == refusal.line.size() - 1);
}

TEST_CASE("a description that is none ends the monitor with status 2 and one line") {
  const Folder folder;
  const Wish wish{.kernel = folder.file("kernel", 1)};
  const std::string random = folder.at("random");
  std::ofstream(random) << std::string(800, '\xa5');
  std::string prelude, line;
  SECTION("descriptor 3 is closed") {
    prelude = "exec 3<&-";
    line = "the machine's description on descriptor 3: Bad file descriptor";
  }
  SECTION("it is empty") {
    prelude = "exec 3</dev/null";
    line = "the machine's description on descriptor 3: Invalid argument";
  }
  SECTION("it is no message") {
    prelude = "exec 3<" + random;
    line = "malformed control message: ";
  }
  const Refusal refusal = refusal_of(folder, wish, prelude);
  CHECK(refusal.status == kBadConfiguration);
  CHECK_THAT(refusal.line, Catch::StartsWith("bulkhead: run: " + line));
  CHECK(refusal.line.find('\n') == refusal.line.size() - 1);
}

TEST_CASE("a host without KVM ends the monitor with status 3, after what the operator got wrong") {
  if (::access("/dev/kvm", F_OK) == 0) SKIP_TEST("this host has /dev/kvm");
  const Folder folder;
  const Refusal refusal =
      refusal_of(folder, {.kernel = folder.file("kernel", 1), .disks = {{folder.file("disk", 512)}}});
  CHECK(refusal.status == kHostNotAble);
  CHECK(refusal.line ==
        "bulkhead: vm: /dev/kvm is missing: this host offers no virtualization, see `bulkhead doctor`\n");
}

TEST_CASE("a caller that closed its standard output and error does not have them written into a disk") {
  const Folder folder;
  const std::string kernel = folder.file("kernel", 1);
  const std::string disk = folder.file("disk", 512);
  // Without help the kernel would become descriptor 1, and the disk 2, just before an error is told.
  const Refusal refusal =
      refusal_of(folder, {.kernel = kernel, .disks = {{disk}, {folder.at("missing")}}}, "exec 1>&- 2>&-");
  CHECK(refusal.status == kBadConfiguration);
  std::ifstream file(disk);
  CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == std::string(512, 'x'));
}

TEST_CASE("a caller whose reader of messages is gone sees the exit status still") {
  const Folder folder;
  const std::string fifo = folder.at("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  ipc::UniqueFd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  const std::string kernel = folder.at("missing");
  Monitor monitor(folder, {.kernel = kernel}, "exec 2>" + fifo + "; read line");
  std::this_thread::sleep_for(Seconds(0.3));  // until it has opened the fifo
  reader = ipc::UniqueFd();
  monitor.send("go\n");
  CHECK(monitor.wait(kPatience) == kBadConfiguration);
}
