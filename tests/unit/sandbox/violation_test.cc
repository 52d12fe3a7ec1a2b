#include "sandbox/violation.h"

#include <sys/syscall.h>

#include "tests/support/catch.h"

using sandbox::kOtherArchitecture;
using sandbox::violation_in;

namespace {

// As Linux 6 writes it.
std::string record(const std::string& pid, const std::string& arch, const std::string& call,
                   const std::string& time = "5000000") {
  return "5,1234," + time +
         ",-;audit: type=1326 audit(1795776889.350:176398): auid=4294967295 uid=0 gid=0 ses=7 pid=" + pid +
         " comm=\"blk\" exe=\"/usr/bin/blk\" sig=31 arch=" + arch + " syscall=" + call +
         " compat=0 ip=0x7fa84078e829 code=0x80000000\n";
}

constexpr const char* kX64 = "c000003e";

}  // namespace

SCENARIO("violation: audit's record tells which call a process was killed for", "[violation]") {
  CHECK(violation_in(record("763", kX64, "101"), 763, 4'000'000) == SYS_ptrace);
  CHECK(violation_in(record("763", kX64, "1073741925"), 763, 0) == kOtherArchitecture);  // x32
  CHECK(violation_in(record("763", "40000003", "26"), 763, 0) == kOtherArchitecture);
}

SCENARIO("violation: records of others, of a time before, and what is no such record tell nothing", "[violation]") {
  CHECK_FALSE(violation_in(record("764", kX64, "101"), 763, 0));
  CHECK_FALSE(violation_in(record("7631", kX64, "101"), 763, 0));
  CHECK_FALSE(violation_in(record("763", kX64, "101"), 763, 7'000'000));  // an older process of this number
  for (const char* text :
       {"", ";", ",", ",,", ",,;", "5,1", "5,1,2", "5,1,2,-;", "6,1,5000000,-;usb 1-1: new device",
        "5,1,5000000,-;audit: type=1326 pid=763", "5,1,x,-;type=1326 a pid=763 arch=c000003e syscall=1",
        "5,1,5000000,-;type=1326 a pid=763 arch=c000003e syscall=",
        "5,1,5000000,-;type=1326 a pid=763 arch= syscall=1"})
    CHECK_FALSE(violation_in(text, 763, 0));
}

SCENARIO("violation: no piece of a record is read beyond its end", "[violation]") {
  const std::string whole = record("763", kX64, "101");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto call = violation_in(std::string_view(whole).substr(0, size), 763, 0);
    CHECK((!call || *call == SYS_ptrace || *call == 1 || *call == 10));  // a number may be cut
  }
}
