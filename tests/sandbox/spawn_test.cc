// Starting, ending and losing children.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"

using sandbox::ChildProcess;
using sandbox::Exit;
using support::in_fork;
using support::must;
using support::Probe;
using support::spawn_probe;

namespace {

std::string spawn_error(const ipc::UniqueFd& program, std::optional<sandbox::Identity> identity) {
  const auto probe = spawn_probe(program, identity);
  return probe ? "no error" : ipc::describe(probe.error());
}

std::optional<sandbox::Identity> any_identity() {
  return ::geteuid() == 0 ? std::optional(support::kProbeIdentity) : std::nullopt;
}

// As a login session has it: an ordinary user without any privilege.
bool become_ordinary_user() {
  constexpr uid_t kUser = 913100;
  return ::syscall(SYS_setgroups, 0, nullptr) == 0 && ::syscall(SYS_setresgid, kUser, kUser, kUser) == 0 &&
         ::syscall(SYS_setresuid, kUser, kUser, kUser) == 0 && ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

bool readable(const ipc::UniqueFd& fd, int milliseconds) {
  pollfd wait{.fd = fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, milliseconds) == 1;
}

}  // namespace

SCENARIO("spawn: the program runs, and its control socket and log are connected", "[spawn]") {
  Probe probe = must(support::spawn_probe(support::probe_program(), any_identity()));
  CHECK(probe.ask("say") == "ok");
  char line[16];
  CHECK(std::string(line, static_cast<std::size_t>(::read(probe.log.get(), line, sizeof line))) == "hello\n");
}

SCENARIO("spawn: a child that ends tells its status", "[spawn]") {
  Probe probe = must(support::spawn_probe(support::probe_program(), any_identity()));
  CHECK_FALSE(probe.process.exit_status().value());
  CHECK_FALSE(readable(probe.process.pidfd(), 0));
  probe.control = ipc::UniqueFd();
  const Exit exit = probe.process.wait().value();
  CHECK(exit.describe() == "exit status 7");
  CHECK(readable(probe.process.pidfd(), 0));
  CHECK(probe.process.exit_status().value()->describe() == "exit status 7");
}

SCENARIO("spawn: a child that is killed tells the signal", "[spawn]") {
  Probe probe = must(support::spawn_probe(support::probe_program(), any_identity()));
  probe.process.kill();
  CHECK(probe.process.wait().value().describe() == "killed by signal 9 (Killed)");
}

SCENARIO("spawn: a child that aborts is seen to have died", "[spawn]") {
  Probe probe = must(support::spawn_probe(support::probe_program(), any_identity()));
  CHECK(probe.ask("abort").starts_with("killed by signal"));
}

SCENARIO("spawn: a child ends with its ChildProcess, and leaves no zombie", "[spawn]") {
  pid_t pid = -1;
  {
    const Probe probe = must(support::spawn_probe(support::probe_program(), any_identity()));
    pid = probe.process.pid();
    CHECK(::kill(pid, 0) == 0);
  }
  CHECK(::kill(pid, 0) == -1);
  CHECK(errno == ESRCH);
}

SCENARIO("spawn: assigning over a ChildProcess ends the child that it held", "[spawn]") {
  Probe one = must(support::spawn_probe(support::probe_program(), any_identity()));
  Probe other = must(support::spawn_probe(support::probe_program(), any_identity()));
  const pid_t first = one.process.pid();
  const pid_t second = other.process.pid();
  one.process = std::move(other.process);
  CHECK(::kill(first, 0) == -1);
  CHECK(::kill(second, 0) == 0);
  CHECK(one.process.pid() == second);
}

SCENARIO("spawn: nothing stays open in the parent but what it is given", "[spawn]") {
  const ipc::UniqueFd program = support::probe_program();
  const auto before = support::entries_of(::getpid(), "fd").size();
  {
    const Probe probe = must(support::spawn_probe(program, any_identity()));
  }
  CHECK_FALSE(spawn_probe(ipc::UniqueFd(), any_identity()));
  CHECK(support::entries_of(::getpid(), "fd").size() == before);
}

SCENARIO("spawn: when the parent dies its children are gone within a second", "[spawn]") {
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  const ipc::UniqueFd out(pipe[0]);
  const ipc::UniqueFd in(pipe[1]);
  const pid_t parent = ::fork();
  if (parent == 0) {
    auto probe = spawn_probe(support::probe_program(), any_identity());
    const pid_t pid = probe ? probe->process.pid() : -1;
    // It must not be the end of its control socket that ends it.
    if (probe && ::write(probe->control.get(), "hang", 4) != 4) ::_exit(1);
    if (::write(in.get(), &pid, sizeof pid) != sizeof pid) ::_exit(1);
    for (;;) ::pause();
  }
  pid_t child = -1;
  REQUIRE(::read(out.get(), &child, sizeof child) == sizeof child);
  REQUIRE(child > 0);
  const ipc::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  REQUIRE(pidfd);
  CHECK_FALSE(readable(pidfd, 50));
  ::kill(parent, SIGKILL);
  CHECK(readable(pidfd, 1000));
  ::waitpid(parent, nullptr, 0);
}

SCENARIO("spawn: the step that fails is named", "[spawn]") {
  GIVEN("no program") {
    CHECK(spawn_error(ipc::UniqueFd(), any_identity()) == "spawn probe: fcntl(F_DUPFD): Bad file descriptor");
  }
  GIVEN("a program that is none") {
    const ipc::UniqueFd null(::open("/dev/null", O_PATH | O_CLOEXEC));
    CHECK(spawn_error(null, any_identity()) == "spawn probe: execveat: Permission denied");
  }
}

SCENARIO("spawn: root must give an identity, and not its own", "[spawn]") {
  if (::geteuid() != 0) SKIP_TEST("needs root");
  CHECK(spawn_error(support::probe_program(), std::nullopt) == "spawn probe: no identity: Invalid argument");
  CHECK(spawn_error(support::probe_program(), sandbox::Identity{0, 1}) == "spawn probe: identity 0: Invalid argument");
  CHECK(spawn_error(support::probe_program(), sandbox::Identity{1, 0}) == "spawn probe: identity 0: Invalid argument");
}

SCENARIO("spawn: a root directory that cannot be replaced is named", "[spawn]") {
  NEEDS_JAIL;
  const ipc::UniqueFd program = support::probe_program();
  std::string directory = std::filesystem::temp_directory_path() / "bulkhead-root-XXXXXX";
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  std::filesystem::create_directory(directory + "/dev");
  std::ofstream(directory + "/dev/null").put('\n');
  // A changed root that is no mount point.
  const std::string error = in_fork([&] {
    if (::chroot(directory.c_str()) != 0 || ::chdir("/") != 0) return std::string("chroot");
    return spawn_error(program, support::kProbeIdentity);
  });
  std::filesystem::remove_all(directory);
  CHECK(error == "spawn probe: mount(private): Invalid argument");
}

SCENARIO("spawn: an ordinary user's child is in a user namespace that maps that user alone", "[spawn]") {
  NEEDS_JAIL;
  const ipc::UniqueFd program = support::probe_program();
  const std::string report = in_fork([&] {
    if (!become_ordinary_user()) return std::string("cannot become an ordinary user");
    auto probe = spawn_probe(program, std::nullopt);
    if (!probe) return ipc::describe(probe.error());
    const pid_t pid = probe->process.pid();
    auto status = support::status_of(pid);
    std::string text = "uid " + status["Uid"] + "; caps " + status["CapPrm"] + " " + status["CapBnd"];
    for (const char* name : {"ns/user", "ns/pid", "ns/mnt", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup"})
      if (support::link_of(pid, name) == support::link_of(::getpid(), name)) text += std::string("; same ") + name;
    text += "; map " + support::file_of(pid, "uid_map") + support::file_of(pid, "gid_map");
    text += "groups " + support::file_of(pid, "setgroups");
    text += "entries " + std::to_string(support::entries_of(pid, "root").size());
    text += "; " + probe->ask("create file") + " " + probe->ask("become root") + " " + probe->ask("open above");
    return text;
  });
  if (report == "spawn probe: clone3: Operation not permitted" ||
      report == "spawn probe: clone3: No space left on device")
    SKIP_TEST("this machine gives ordinary users no user namespaces");
  CHECK(report ==
        "uid 913100 913100 913100 913100; caps 0000000000000000 0000000000000000; map"
        "     913100     913100          1\n    913100     913100          1\n"
        "groups deny\nentries 0; EROFS EINVAL ENOENT");
}

SCENARIO("spawn: a helper has our rights, four descriptors, a session of its own and no environment", "[spawn]") {
  const auto start = [](std::vector<std::string> arguments) {
    int sockets[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
    ipc::UniqueFd ours(sockets[0]);
    auto process = sandbox::start_helper({.arguments = std::move(arguments), .socket = ipc::UniqueFd(sockets[1])});
    return std::pair(std::move(process), std::move(ours));
  };
  const std::string path = support::probe_path();
  auto [process, control] = start({path, "one", "two"});
  Probe helper{must(std::move(process)), std::move(control), {}};
  CHECK(helper.ask("arguments") == "3 " + path + " two");
  CHECK(helper.ask("session") == helper.ask("pid"));
#ifndef BULKHEAD_SANITIZED  // there it keeps the sanitizers' options
  CHECK(helper.ask("environment") == "empty");
  CHECK(support::entries_of(helper.process.pid(), "fd") == std::vector<std::string>{"0", "1", "2", "3"});
#endif
  CHECK(support::status_of(helper.process.pid())["Uid"] == support::status_of(::getpid())["Uid"]);
  helper.process.kill();
  CHECK(must(helper.process.wait()).value == SIGKILL);
  CHECK(ipc::describe(start({"/nowhere"}).first.error()) == "start /nowhere: open: No such file or directory");
  CHECK(ipc::describe(start({"/etc/passwd"}).first.error()) == "start /etc/passwd: execveat: Permission denied");
}

SCENARIO("spawn: a step that an ordinary user may not take is named", "[spawn]") {
  NEEDS_JAIL;
  const ipc::UniqueFd program = support::probe_program();
  CHECK(in_fork([&] {
          if (!become_ordinary_user()) return std::string("cannot become an ordinary user");
          return spawn_error(program, support::kProbeIdentity);  // root's way of doing it
        }) == "spawn probe: clone3: Operation not permitted");
}
