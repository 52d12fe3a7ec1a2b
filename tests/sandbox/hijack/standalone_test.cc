// bulkhead-blk and bulkhead-net as people start them, taken over while they run.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>

#include "tests/sandbox/hijack/served.h"
#include "tests/support/calls.h"
#include "tests/support/catch.h"
#include "tests/support/golden_tables.h"
#include "tests/support/network.h"
#include "tests/system/processes.h"

using namespace hijacked;
using support::Fate;
using support::golden_calls;
using support::hijack;
using support::kKilledForIt;

SCENARIO("hijack: a sealed back end ends by any call of any of its threads that its table does not list", "[hijack]") {
  NEEDS_REACH();
  const Program program = GENERATE(kBlk, kNet);
  const std::size_t thread = GENERATE(kMain, kWorker);
  const std::string table = Served(program).table(thread);
  INFO(table);
  CHECK(survivals(program, thread, unlisted(golden_calls(table))) == kNothing);
}

SCENARIO("hijack: a sealed back end ends by a call that its table lists with other arguments", "[hijack]") {
  NEEDS_REACH();
  const Program program = GENERATE(kBlk, kNet);
  const std::size_t thread = GENERATE(kMain, kWorker);
  Served victim(program);
  INFO(victim.table(thread));
  CHECK(survivals(program, thread, wanted(golden_calls(victim.table(thread)))) == kNothing);
  CHECK(survivals(program, thread, requests(victim.pid())) == kNothing);
}

SCENARIO("hijack: a call that its table lists returns to a sealed back end, which goes on as if nothing had been",
         "[hijack]") {
  NEEDS_REACH();
  const Program program = GENERATE(kBlk, kNet);
  Served victim(program);
  const Fate bad_descriptor{Fate::Kind::Returned, -EBADF};
  CHECK(hijack(victim.thread(kMain), {SYS_close, {kNone}}) == bad_descriptor);
  CHECK(hijack(victim.thread(kWorker), {SYS_write, {kNone}}) == bad_descriptor);
  CHECK(hijack(victim.thread(kMain), {SYS_mmap, {0, 0, 0, MAP_PRIVATE | MAP_ANONYMOUS}}) ==
        Fate{Fate::Kind::Returned, -EINVAL});
  REQUIRE(::kill(victim.pid(), SIGTERM) == 0);
  CHECK(victim.wait() == 0);
}

SCENARIO("hijack: the calls that no filter sees are refused to a sealed back end", "[hijack]") {
  NEEDS_REACH();
  const auto number = static_cast<std::uint64_t>(GENERATE(from_range(support::kProbes)));
  const Fate fate = hijack(Served(kBlk).thread(kMain), {number});
  INFO(fate);
  CHECK((fate == kKilledForIt || fate == Fate{Fate::Kind::Killed, SIGILL} ||
         (fate.kind == Fate::Kind::Returned && fate.value < 0)));
}

SCENARIO("hijack: what helps a sealed back end, its socket's keeper and who connects again, is as sealed", "[hijack]") {
  NEEDS_REACH();
  const auto [index, name] = GENERATE(table<std::size_t, std::string>({{0, "redial"}, {1, "keeper"}}));
  INFO(name);
  CHECK(complaints(wanted(golden_calls(name)), [at = index](const Call& call) {
          const support::Folder folder;
          const ipc::UniqueFd network = support::listen_on(folder.file("network"));
          const Served victim({"net", {"--mac=52:54:00:01:02:03", "--stream-path=" + folder.file("network")}});
          return complaint(call, hijack(system_test::children_of(victim.pid()).at(at).pid, call));
        }) == kNothing);
}
