// The real monitor and the real bulkhead-blk, and a driver in place of a guest: the back end is killed again and again.
#include <signal.h>

#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"

using namespace supervised;
using namespace system_test;
using Catch::Matchers::Contains;

namespace {

constexpr std::uint64_t kDiskBytes = 40 * 16 * 4096;  // StampedLoad::kSectors

void kill_again_and_again(const std::string& layout, int kills) {
  NEEDS_CHILDREN();
  Folder folder;
  Monitor monitor(folder, {.kernel = folder.file("kernel", 1),
                           .cmdline = layout,
                           .disks = {{.path = folder.file("disk", kDiskBytes), .queues = 2}},
                           .children = Wish::Children::RealBlkAndDriver});
  std::mt19937 random(std::random_device{}());
  int killed = 0;
  for (int tries = 0; killed < kills && tries < 50 * kills; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(killed == 0 ? 500 : 101 + random() % 60));
    const auto children = children_of(monitor.pid());
    const Process* blk = find_by_name(children, "bulkhead-blk");
    if (blk != nullptr && ::kill(blk->pid, SIGKILL) == 0) ++killed;
  }
  CHECK(killed == kills);
  std::this_thread::sleep_for(Seconds(0.5));
  monitor.send("finish\n");
  const auto result = monitor.read_until("resets\n", kPatience);
  INFO(monitor.errors());
  REQUIRE(result);
  CHECK_THAT(*result, Contains(" 0 repeated, 0 errors, 0 mismatches, 0 "));
  CHECK(std::stoul(*result) > 1000u * static_cast<unsigned>(kills) / 10);
  CHECK(monitor.wait(kPatience) == kPoweredOff);
  const std::string told = monitor.errors();
  constexpr std::string_view kSummary = "blk0: replaced ";
  const std::size_t summary = told.find(kSummary);
  REQUIRE(summary != std::string::npos);
  // On a machine with other work some are killed before they serve: the guest waits on, and that is one time for it.
  const int replaced = std::stoi(told.substr(summary + kSummary.size()));
  CHECK(replaced <= kills);
  CHECK(replaced >= kills / 2);
  std::cout << *result << "\n" << told.substr(summary);
}

}  // namespace

TEST_CASE("a disk's back end is killed 200 times under load: nothing is lost, repeated or wrong", "[recovery]") {
  kill_again_and_again("split", 200);
}

TEST_CASE("a disk's back end of packed rings is killed 60 times under load", "[children]") {
  kill_again_and_again("packed", 60);
}

TEST_CASE("a disk's back end that is killed as soon as it is there is replaced all the same", "[recovery]") {
  NEEDS_CHILDREN();
  Folder folder;
  Monitor monitor(folder, {.kernel = folder.file("kernel", 1),
                           .cmdline = "split",
                           .disks = {{.path = folder.file("disk", kDiskBytes), .queues = 2}},
                           .children = Wish::Children::RealBlkAndDriver});
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  // Its replacement waits longer each time, and vcpu-host tells of the loss meanwhile.
  pid_t last = 0;
  int killed = 0;
  for (int tries = 0; killed < 8 && tries < 20'000; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto children = children_of(monitor.pid());
    const Process* blk = find_by_name(children, "bulkhead-blk");
    if (blk == nullptr || blk->pid == last) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // vcpu-host has it
    last = blk->pid;
    if (::kill(last, SIGKILL) == 0) ++killed;
  }
  CHECK(killed == 8);
  std::this_thread::sleep_for(Seconds(3));
  monitor.send("finish\n");
  const auto result = monitor.read_until("resets\n", kPatience);
  INFO(monitor.errors());
  REQUIRE(result);
  CHECK_THAT(*result, Contains(" 0 repeated, 0 errors, 0 mismatches, 0 "));
  CHECK(monitor.wait(kPatience) == kPoweredOff);
}
