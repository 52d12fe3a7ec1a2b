// Every call there is, on each that a sample is tried on each day.
#include "tests/integration/monitor/supervised.h"
#include "tests/sandbox/hijack/machine.h"
#include "tests/sandbox/hijack/served.h"
#include "tests/support/catch.h"
#include "tests/support/golden_tables.h"

using namespace hijacked;
using support::golden_calls;

SCENARIO("hijack: a sealed back end ends by any call of x32 or of 32 bits", "[nightly]") {
  NEEDS_REACH();
  const Program program = GENERATE(kBlk, kNet);
  const std::size_t thread = GENERATE(kMain, kWorker);
  INFO(program.device);
  CHECK(survivals(program, thread, foreign()) == kNothing);
}

SCENARIO("hijack: a sealed back end without io_uring ends by any call that its table does not list", "[nightly]") {
  NEEDS_REACH();
  Program program = GENERATE(kBlk, kNet);
  program.options.push_back("--engine=plain");
  const std::size_t thread = GENERATE(kMain, kWorker);
  const std::string table = Served(program).table(thread);
  INFO(table);
  CHECK(survivals(program, thread, unlisted(golden_calls(table))) == kNothing);
}

SCENARIO("hijack: a monitored back end ends by any call that its table does not list", "[nightly]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  CHECK(try_on_blk(unlisted(golden_calls("blk"))).wrong == kNothing);
}

SCENARIO("hijack: a vcpu-host ends by any call that its thread's table does not list", "[nightly]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  const VcpuHostThread thread = GENERATE(kEventLoop, kFirstVcpu);
  INFO(thread.table);
  CHECK(wrong_of_vcpu_host(thread, unlisted(golden_calls(thread.table))) == kNothing);
  CHECK(wrong_of_vcpu_host(thread, foreign()) == kNothing);
}

SCENARIO("hijack: a confined monitor ends by any call that its table does not list", "[nightly]") {
  NEEDS_REACH();
  NEEDS_CHILDREN();
  CHECK(complaints(unlisted(golden_calls("monitor")), try_on_monitor) == kNothing);
  CHECK(complaints(foreign(), try_on_monitor) == kNothing);
}
