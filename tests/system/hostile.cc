#include "tests/system/hostile.h"

#include <signal.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <thread>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/guest_shell.h"
#include "tests/system/processes.h"

namespace system_test {

using Catch::Matchers::Contains;

namespace {

constexpr std::uint64_t kGrowthKib = 4096;  // of a process that serves it

std::uint64_t operations(const std::string& output) {
  const std::size_t last = output.rfind("ops ");
  return last == std::string::npos ? 0 : std::strtoull(output.c_str() + last + 4, nullptr, 10);
}

using Clock = std::chrono::steady_clock;

// One machine, for so long at most: a device that the guest sets going may write over the guest, which ends it.
void torment_once(Seconds time) {
  const std::string image = work_file("hostile.img");
  REQUIRE(run({"truncate", "-s", "8M", image}).status == 0);
  const unsigned seed = std::random_device{}() % 1'000'000;
  std::cout << "seed=" << seed << "\n";
  Command machine({bin("bulkhead"), "run", "--kernel", HOSTILE_PAYLOAD, "--memory", "16", "--cmdline",
                   "seed=" + std::to_string(seed), "--disk", "path=" + image + ",queues=2", "--net", "tap=bhhostile",
                   "--net", "pair=/run/hostile-cable"});
  REQUIRE(machine.expect("ops 0", kBoot));
  const std::vector<Process> before = children_of(machine.pid());
  REQUIRE(before.size() == 5);
  std::vector<std::uint64_t> memory;
  for (const Process& process : before) memory.push_back(own_memory_kib(process.pid));
  const std::uint64_t monitor_memory = own_memory_kib(machine.pid());

  const auto begun = Clock::now();
  const auto status = machine.wait(time);
  const Seconds lived = Clock::now() - begun;
  static_cast<void>(machine.expect("a word that never comes", Seconds(0.1)));  // takes up what was printed
  const std::uint64_t done = operations(machine.output());
  std::cout << done << " operations in " << lived.count() << " s" << (status ? ", then it ended itself" : "") << "\n";
  INFO(machine.errors());
  CHECK_THAT(machine.errors(), !Contains("killed by signal") && !Contains("was lost"));
  CHECK(machine.errors().size() < 200'000);  // however long it goes on
  if (status) {
    CHECK(*status == kGuestCrashed);
    CHECK_THAT(machine.errors(), Contains("the guest crashed: "));
    for (const Process& process : before) CHECK_FALSE(exists(process));
    return;
  }
  CHECK(static_cast<double>(done) > 25 * lived.count());
  // Nobody has died: the guest may make a back end refuse, at most.
  for (const Process& process : before) {
    INFO(process.name);
    if (process.name == "bulkhead-vcpu-host" || process.name == "bulkhead-spawner") CHECK(exists(process));
  }
  for (std::size_t i = 0; i < before.size(); ++i)
    if (exists(before[i])) CHECK(own_memory_kib(before[i].pid) < memory[i] + kGrowthKib);
  CHECK(own_memory_kib(machine.pid()) < monitor_memory + kGrowthKib);
  // And the guest is still at it.
  CHECK(machine.expect("ops ", Seconds(60)));

  REQUIRE(::kill(machine.pid(), SIGINT) == 0);
  CHECK(machine.wait(Seconds(10)) == 128 + SIGINT);
  CHECK(children_of(machine.pid()).empty());
}

}  // namespace

void torment(Seconds time) {
  for (const auto end = Clock::now() + time; Clock::now() < end;) torment_once(end - Clock::now());
}

}  // namespace system_test
