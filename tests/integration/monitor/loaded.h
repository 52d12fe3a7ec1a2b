// The real monitor and the real bulkhead-blk, and a driver in place of a guest. Header-only.
#pragma once

#include <string>
#include <thread>

#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"
#include "tests/system/exit_status.h"

namespace supervised {

inline constexpr std::uint64_t kDiskBytes = 40 * 16 * 4096;  // StampedLoad::kSectors

// A driver's load on a real back end, in a real jail, under the real monitor.
class Loaded {
 public:
  explicit Loaded(const std::string& layout)
      : monitor_(folder_, {.kernel = folder_.file("kernel", 1),
                           .cmdline = layout,
                           .disks = {{.path = folder_.file("disk", kDiskBytes), .queues = 2}},
                           .children = Wish::Children::RealBlkAndDriver}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }

  pid_t monitor() const { return monitor_.pid(); }
  // The back end's pid; 0 while it is being replaced.
  pid_t back_end() const {
    const auto children = system_test::children_of(monitor_.pid());
    const system_test::Process* blk = system_test::find_by_name(children, "bulkhead-blk");
    return blk != nullptr ? blk->pid : 0;
  }
  // The load ends: what the driver has seen, and what the monitor has told.
  struct Ended {
    std::string seen, told;
  };
  Ended finish() {
    monitor_.send("finish\n");
    const auto seen = monitor_.read_until("resets\n", kPatience);
    INFO(monitor_.errors());
    REQUIRE(seen);
    CHECK_THAT(*seen, Catch::Contains(" 0 repeated, 0 errors, 0 mismatches, 0 "));
    CHECK(monitor_.wait(kPatience) == system_test::kPoweredOff);
    return {*seen, monitor_.errors()};
  }

 private:
  Folder folder_;
  Monitor monitor_;
};

}  // namespace supervised
