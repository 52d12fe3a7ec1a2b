// What spawner and monitor give up before the guest runs.
#include "sandbox/parent.h"

#include <grp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "sandbox/capabilities.h"
#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"

using support::in_fork;

namespace {

// Of this process, after it was confined: one field of /proc/self/status.
std::string kept(const std::string& set) {
  const auto done = sandbox::confine_parent();
  return done ? support::status_of(::getpid())[set] : ipc::describe(done.error());
}

}  // namespace

SCENARIO("parent: root keeps what it takes to start children, for good", "[parent]") {
  NEEDS_JAIL;
  if (::geteuid() != 0) SKIP_TEST("only root has capabilities to lose");
  CHECK(sandbox::kParentCapabilities == 0x4002005e2);
  // CAP_DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_ADMIN, SYSLOG.
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
    CHECK(in_fork([&] { return kept(set); }) == "00000004002005e2");
  for (const char* set : {"CapInh", "CapAmb"}) CHECK(in_fork([&] { return kept(set); }) == "0000000000000000");
}

SCENARIO("parent: with what is left children are started, jailed and ended", "[parent]") {
  NEEDS_JAIL;
  CHECK(in_fork([] {
          const auto done = sandbox::confine_parent();
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

SCENARIO("parent: who takes another identity is nobody else any more", "[parent]") {
  NEEDS_JAIL;
  // Even one to whom a change of uid would leave its capabilities.
  const bool keeps = GENERATE(false, true);
  CHECK(in_fork([&] {
          const gid_t group = 913200;
          if (::setgroups(1, &group) != 0) return std::string("setgroups");
          if (keeps && ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) != 0) return std::string("securebits");
          const auto done = sandbox::take_identity(support::kProbeIdentity);
          if (!done) return ipc::describe(done.error());
          auto status = support::status_of(::getpid());
          std::string all = status["Uid"] + ", " + status["Gid"] + ", groups " + status["Groups"];
          for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) all += " " + status[set];
          return all;
        }) ==
        "913001 913001 913001 913001, 913002 913002 913002 913002, groups  0000000000000000 0000000000000000 "
        "0000000000000000 0000000000000000 0000000000000000");
}

SCENARIO("parent: who has none keeps none", "[parent]") {
  NEEDS_JAIL;
  const std::string left = in_fork([] {
    constexpr uid_t kUser = 913100;
    if (::geteuid() == 0 && ::syscall(SYS_setresuid, kUser, kUser, kUser) != 0) return std::string("setresuid");
    return kept("CapPrm");
  });
  CHECK(left == "0000000000000000");
}

SCENARIO("parent: what it never calls it cannot call any more, nor may what it starts", "[parent]") {
  NEEDS_JAIL;
  CHECK(in_fork([] {
          const auto done = sandbox::confine_parent();
          if (!done) return ipc::describe(done.error());
          for (const int call : sandbox::kNeverCalled)
            if (::syscall(call, -1, -1, -1, -1, -1) != -1 || errno != EPERM) return fmt::format("call {}", call);
          return support::status_of(::getpid())["NoNewPrivs"] + support::status_of(::getpid())["Seccomp"];
        }) == "12");
  // Without privileges they would fail too, but not so: EPERM comes before any argument is looked at.
  CHECK(in_fork([] { return std::to_string(::syscall(SYS_kcmp, -1, -1, -1, -1, -1) == -1 ? errno : 0); }) != "1");
}
