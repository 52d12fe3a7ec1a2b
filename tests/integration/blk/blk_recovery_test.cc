// kill -9 at any moment under load, then a new process: each request completes exactly once as the
// driver sees it (vhost-user.rst, "Inflight I/O tracking").
#include <iostream>
#include <thread>

#include "tests/integration/blk/stamped_load.h"
#include "tests/support/catch.h"

using support::BlkFolder;
using support::BlkProgram;

namespace {

#ifdef BULKHEAD_SANITIZED
constexpr int kKills = 50;  // such a process takes much longer to start
#else
constexpr int kKills = 500;
#endif

std::chrono::microseconds up_to(std::mt19937& random, unsigned microseconds) {
  return std::chrono::microseconds(random() % microseconds);
}

}  // namespace

SCENARIO("blk recovery: 500 kills under load lose nothing, repeat nothing and give no error", "[blk-recovery]") {
  const std::uint32_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const BlkFolder folder(StampedLoad::kSectors);
  StampedLoad load(random(), GENERATE(support::Layout::Split, support::Layout::Packed));
  std::size_t in_flight = 0;
  std::size_t greetings = 0;  // that a kill broke off
  for (int kill = 0; kill <= kKills; ++kill) {
    std::filesystem::remove(folder.log());  // of the process before
    BlkProgram program(folder, {"--socket-path=" + folder.socket(), "--blk-file=" + folder.image(),
                                "--num-queues=" + std::to_string(StampedLoad::kQueues)});
    auto front_end = program.connect();
    INFO(folder.logged());
    REQUIRE(front_end);
    if (kill % 4 == 3) {
      // While it greets, takes over what is in flight, or has just begun to work.
      const std::jthread killer([&program, time = up_to(random, 4'000)] {
        std::this_thread::sleep_for(time);
        program.signal(SIGKILL);
      });
      if (load.greet(std::move(front_end)))
        load.run_for(up_to(random, 500));
      else
        ++greetings;
    } else {
      REQUIRE(load.greet(std::move(front_end)));
      REQUIRE(load.run(random() % 100));
      load.run_for(up_to(random, 500));
    }
    if (kill == kKills) load.finish();
    program.kill();
    in_flight += load.in_flight();
  }
  std::cout << kKills << " kills, " << greetings << " of them while greeting; " << load.completed()
            << " requests completed, " << in_flight << " were in flight at kills; lost " << load.in_flight()
            << ", repeated " << load.repeated << ", I/O errors " << load.errors << ", wrong reads " << load.mismatches
            << ", stale blocks " << load.stale(folder.disk) << "\n";
  CHECK(in_flight > kKills);
  CHECK(load.in_flight() == 0);
  CHECK(load.repeated == 0);
  CHECK(load.errors == 0);
  CHECK(load.mismatches == 0);
  CHECK(load.stale(folder.disk) == 0);
}
