// What the monitor keeps of root's rights.
#include "sandbox/capabilities.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"

using support::in_fork;

namespace {

// Of this process, after it has kept what children need: one field of /proc/self/status.
std::string kept(const std::string& set) {
  const auto done = sandbox::keep_what_children_need();
  return done ? support::status_of(::getpid())[set] : ipc::describe(done.error());
}

}  // namespace

SCENARIO("capabilities: root keeps what it takes to start children, for good", "[capabilities]") {
  NEEDS_JAIL;
  if (::geteuid() != 0) SKIP_TEST("only root has capabilities to lose");
  // CAP_DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_ADMIN, SYSLOG.
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
    CHECK(in_fork([&] { return kept(set); }) == "00000004002005e2");
  for (const char* set : {"CapInh", "CapAmb"}) CHECK(in_fork([&] { return kept(set); }) == "0000000000000000");
}

SCENARIO("capabilities: with those children are started, jailed and ended", "[capabilities]") {
  NEEDS_JAIL;
  CHECK(in_fork([] {
          const auto done = sandbox::keep_what_children_need();
          if (!done) return ipc::describe(done.error());
          auto probe = support::spawn_probe(support::probe_program(),
                                            ::geteuid() == 0 ? std::optional(support::kProbeIdentity) : std::nullopt);
          if (!probe) return ipc::describe(probe.error());
          const std::string said = probe->ask("say");
          probe->process.kill();
          const auto exit = probe->process.wait();
          return said + ", " + (exit ? exit->describe() : ipc::describe(exit.error()));
        }) == "ok, killed by signal 9 (Killed)");
}

SCENARIO("capabilities: who has none keeps none", "[capabilities]") {
  NEEDS_JAIL;
  const std::string left = in_fork([] {
    constexpr uid_t kUser = 913100;
    if (::geteuid() == 0 && ::syscall(SYS_setresuid, kUser, kUser, kUser) != 0) return std::string("setresuid");
    return kept("CapPrm");
  });
  CHECK(left == "0000000000000000");
}
