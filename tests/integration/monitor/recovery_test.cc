// The real monitor and the real bulkhead-blk, and a driver in place of a guest: the back end is killed again and again.
#include <signal.h>

#include <iostream>
#include <random>
#include <thread>

#include "tests/integration/monitor/loaded.h"
#include "tests/support/catch.h"

using namespace supervised;
using namespace system_test;

namespace {

void kill_again_and_again(const std::string& layout, int kills) {
  NEEDS_CHILDREN();
  Loaded machine(layout);
  std::mt19937 random(std::random_device{}());
  int killed = 0;
  for (int tries = 0; killed < kills && tries < 50 * kills; ++tries) {
    const pid_t victim = machine.back_end();
    if (victim != 0 && ::kill(victim, SIGKILL) == 0) ++killed;
    std::this_thread::sleep_for(std::chrono::milliseconds(101 + random() % 60));
  }
  CHECK(killed == kills);
  std::this_thread::sleep_for(Seconds(0.5));
  const auto [seen, told] = machine.finish();
  CHECK(std::stoul(seen) > 1000u * static_cast<unsigned>(kills) / 10);
  constexpr std::string_view kSummary = "blk0: replaced ";
  const std::size_t summary = told.find(kSummary);
  REQUIRE(summary != std::string::npos);
  // On a machine with other work some are killed before they serve: the guest waits on, and that is one time for it.
  const int replaced = std::stoi(told.substr(summary + kSummary.size()));
  CHECK(replaced <= kills);
  CHECK(replaced >= kills / 2);
  std::cout << seen << "\n" << told.substr(summary);
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
  Loaded machine("split");
  // Its replacement waits longer each time, and vcpu-host tells of the loss meanwhile.
  pid_t last = 0;
  int killed = 0;
  for (int tries = 0; killed < 8 && tries < 20'000; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const pid_t victim = machine.back_end();
    if (victim == 0 || victim == last) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // vcpu-host has it
    last = victim;
    if (::kill(victim, SIGKILL) == 0) ++killed;
  }
  CHECK(killed == 8);
  std::this_thread::sleep_for(Seconds(3));
  machine.finish();
}
