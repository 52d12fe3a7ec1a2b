// What a child gives up when it seals itself.
#include "sandbox/seal.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"

using support::must;
using support::Probe;

namespace {

Probe sealed() {
  Probe probe = must(support::spawn_probe(support::probe_program()));
  const std::string layers = probe.ask("lock down");
  CHECK(layers.find("no new privileges;not dumpable;") != std::string::npos);
  return probe;
}

}  // namespace

SCENARIO("seal: what is in force is what the kernel offers", "[seal]") {
  NEEDS_JAIL;
  std::string expected;
  for (const auto& layer : sandbox::layers(sandbox::supported_protections()))
    if (layer.present) expected += std::string(layer.name) + ";";
  Probe probe = must(support::spawn_probe(support::probe_program()));
  CHECK(probe.ask("lock down") == expected);
}

SCENARIO("seal: asking what the kernel offers changes nothing", "[seal]") {
  const auto before = support::status_of(::getpid());
  static_cast<void>(sandbox::supported_protections());
  CHECK(support::status_of(::getpid()).at("NoNewPrivs") == before.at("NoNewPrivs"));
  CHECK(support::status_of(::getpid()).at("Seccomp") == before.at("Seccomp"));
}

SCENARIO("seal: each layer that is absent says what it needs", "[seal]") {
  for (const auto& layer : sandbox::layers({})) {
    INFO(layer.name);
    CHECK_FALSE(layer.present);
  }
  const auto layers = sandbox::layers({.landlock_abi = 7});
  CHECK(layers[3].detail == "ABI 7: files, TCP, abstract sockets, signals");
  CHECK(sandbox::layers({})[2].detail == "needs Linux 6.3");
}

SCENARIO("seal: a child can be neither traced nor dumped", "[seal]") {
  NEEDS_JAIL;
  Probe probe = must(support::spawn_probe(support::probe_program()));
  CHECK(probe.ask("dumpable") == "1");  // exec made it so
  static_cast<void>(probe.ask("lock down"));
  CHECK(probe.ask("dumpable") == "0");
}

SCENARIO("seal: Landlock takes even the empty root away", "[seal]") {
  NEEDS_JAIL;
  if (sandbox::supported_protections().landlock_abi < 1) SKIP_TEST("this kernel has no Landlock");
  Probe probe = sealed();
  CHECK(probe.ask("open root") == "EACCES");
}

SCENARIO("seal: Landlock denies TCP", "[seal]") {
  NEEDS_JAIL;
  if (sandbox::supported_protections().landlock_abi < 4) SKIP_TEST("this kernel's Landlock has no TCP rights: ABI 4");
  Probe probe = must(support::spawn_probe(support::probe_program()));
  CHECK(probe.ask("connect tcp") == "ENETUNREACH");  // by the empty network namespace
  static_cast<void>(probe.ask("lock down"));
  CHECK(probe.ask("connect tcp") == "EACCES");
}

SCENARIO("seal: Landlock denies binding to a TCP port", "[seal]") {
  NEEDS_JAIL;
  if (sandbox::supported_protections().landlock_abi < 4) SKIP_TEST("this kernel's Landlock has no TCP rights: ABI 4");
  Probe probe = must(support::spawn_probe(support::probe_program()));
  CHECK(probe.ask("bind tcp") == "ok");
  static_cast<void>(probe.ask("lock down"));
  CHECK(probe.ask("bind tcp") == "EACCES");
}

// Not in a jail, where nobody else is to be seen: as a back end is that people start by themselves.
SCENARIO("seal: Landlock keeps signals and abstract sockets inside", "[seal]") {
  NEEDS_JAIL;
  if (sandbox::supported_protections().landlock_abi < 6) SKIP_TEST("this kernel's Landlock has no scopes: ABI 6");
  const ipc::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address{.sun_family = AF_UNIX, .sun_path = "\0bulkhead-seal"};
  const auto* const place = reinterpret_cast<const sockaddr*>(&address);
  REQUIRE(::bind(listener.get(), place, sizeof address) == 0);
  REQUIRE(::listen(listener.get(), 2) == 0);
  const auto attempt = [&] {
    const ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const bool connected = ::connect(socket.get(), place, sizeof address) == 0;
    const bool signalled = ::kill(::getppid(), 0) == 0;
    return std::string(connected ? "connected " : "not connected ") + (signalled ? "signalled" : "not signalled");
  };
  CHECK(support::in_fork(attempt) == "connected signalled");
  CHECK(support::in_fork([&] { return sandbox::lock_down() ? attempt() : "no lock"; }) ==
        "not connected not signalled");
}

SCENARIO("seal: no set-uid program gives a process without a jail what it gave up", "[seal]") {
  NEEDS_JAIL;
  CHECK(support::in_fork([] {
          const int before = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
          if (!sandbox::lock_down()) return std::string("no lock");
          return std::to_string(before) + std::to_string(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        }) == "01");
}

SCENARIO("seal: no page is shared with another process for having the same content", "[seal]") {
  NEEDS_JAIL;
  constexpr int kSetMemoryMerge = 67;
  constexpr int kGetMemoryMerge = 68;
  const std::string merged = support::in_fork([] {
    if (::prctl(kSetMemoryMerge, 1, 0, 0, 0) != 0) return std::string("none");
    const int before = ::prctl(kGetMemoryMerge, 0, 0, 0, 0);
    if (!sandbox::lock_down()) return std::string("no lock");
    return std::to_string(before) + std::to_string(::prctl(kGetMemoryMerge, 0, 0, 0, 0));
  });
  if (merged == "none") SKIP_TEST("this kernel does not merge pages of whole processes: Linux 6.4 with KSM");
  CHECK(merged == "10");
}

SCENARIO("seal: a process has its cores to itself, and shares them with what it starts", "[seal]") {
  const auto cookie = [] {
    unsigned long value = 0;
    return ::prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, PR_SCHED_CORE_SCOPE_THREAD, &value) == 0 ? value : 0;
  };
  const std::string own = support::in_fork([&] {
    const auto done = sandbox::own_core();
    if (!done) return ipc::describe(done.error());
    const unsigned long ours = cookie();
    if (ours == 0) return std::string("none");
    return support::in_fork(
        [&] { return std::string(sandbox::own_core() && cookie() == ours ? "shared" : "another"); });
  });
  if (own == "none") SKIP_TEST("no core of this host has several threads, or its kernel has no core scheduling");
  CHECK(own == "shared");
}

SCENARIO("seal: no memory becomes executable", "[seal]") {
  NEEDS_JAIL;
  if (!sandbox::supported_protections().deny_write_execute) SKIP_TEST("this kernel has no PR_SET_MDWE: Linux 6.3");
  Probe probe = must(support::spawn_probe(support::probe_program()));
  CHECK(probe.ask("map executable") == "ok");
  CHECK(probe.ask("make executable") == "ok");
  static_cast<void>(probe.ask("lock down"));
  CHECK(probe.ask("map executable") == "EACCES");
  CHECK(probe.ask("make executable") == "EACCES");
}

SCENARIO("seal: a call that the policy does not list ends the process, and the parent learns why", "[seal]") {
  NEEDS_JAIL;
  // The kernel's log leaves records out while there are many.
  std::string end;
  for (int i = 0; i < 5 && end.find("does not list") == std::string::npos; ++i) {
    if (i > 0) ::sleep(2);
    Probe probe = must(support::spawn_probe(support::probe_program()));
    CHECK(probe.ask("enter filter") == "ok");
    end = probe.ask("open root");
    REQUIRE(end.starts_with("killed by signal 31 (Bad system call)"));
  }
  if (end.find("does not list") == std::string::npos) SKIP_TEST("this host's audit does not write to the kernel's log");
  CHECK(end == "killed by signal 31 (Bad system call): its policy does not list openat so");
}

SCENARIO("seal: a filter shows in /proc", "[seal]") {
  NEEDS_JAIL;
  Probe probe = sealed();
  CHECK(support::status_of(probe.process.pid()).at("Seccomp") == "0");
  CHECK(probe.ask("enter filter") == "ok");
  CHECK(support::status_of(probe.process.pid()).at("Seccomp") == "2");
}
