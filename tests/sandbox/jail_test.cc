// What a child has and may do when its program starts, before it seals itself.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"

using support::kProbeIdentity;
using support::must;
using support::Probe;

namespace {

Probe jailed(const sandbox::Limits& limits = {}) {
  return must(support::spawn_probe(support::probe_program(), kProbeIdentity, limits, {"first", "last"}));
}

}  // namespace

SCENARIO("jail: a child has its own uid and gid, no other group and no capability", "[jail]") {
  NEEDS_JAIL;
  const gid_t other = 913003;
  REQUIRE(::setgroups(1, &other) == 0);
  Probe probe = jailed();
  auto status = support::status_of(probe.process.pid());
  CHECK(status["Uid"] == "913001 913001 913001 913001");
  CHECK(status["Gid"] == "913002 913002 913002 913002");
  CHECK(status["Groups"] == "");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    INFO(set);
    CHECK(status[set] == "0000000000000000");
  }
  CHECK(status["NoNewPrivs"] == "1");
  CHECK(probe.ask("become root") == "EPERM");
  CHECK(probe.ask("unshare mount") == "EPERM");
}

SCENARIO("jail: capabilities that a caller means to outlive an exec do not", "[jail]") {
  NEEDS_JAIL;
  const ipc::UniqueFd program = support::probe_program();
  CHECK(support::in_fork([&] {
          __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
          __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
          if (::syscall(SYS_capget, &header, sets) != 0) return std::string("capget");
          sets[0].inheritable |= 1u << CAP_CHOWN;
          if (::syscall(SYS_capset, &header, sets) != 0) return std::string("capset");
          // A change of uid leaves them then.
          if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) != 0) return std::string("securebits");
          if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) != 0) return std::string("ambient");
          auto probe = support::spawn_probe(program);
          if (!probe) return ipc::describe(probe.error());
          auto status = support::status_of(probe->process.pid());
          return status["CapInh"] + " " + status["CapPrm"] + " " + status["CapEff"] + " " + status["CapAmb"];
        }) == "0000000000000000 0000000000000000 0000000000000000 0000000000000000");
}

SCENARIO("jail: a child shares no namespace but the user namespace with its parent", "[jail]") {
  NEEDS_JAIL;
  Probe probe = jailed();
  for (const char* name : {"pid", "mnt", "net", "ipc", "uts", "cgroup"}) {
    INFO(name);
    const std::string link = std::string("ns/") + name;
    CHECK(support::link_of(probe.process.pid(), link) != support::link_of(::getpid(), link));
  }
  CHECK(probe.ask("pid") == "1");
  CHECK(probe.ask("session") == "1");
  CHECK(probe.ask("hostname") == "bulkhead.bulkhead");
}

SCENARIO("jail: two children share no namespace with each other", "[jail]") {
  NEEDS_JAIL;
  Probe one = jailed();
  Probe other = jailed();
  for (const char* name : {"ns/pid", "ns/mnt", "ns/net", "ns/ipc", "ns/uts", "ns/cgroup"})
    CHECK(support::link_of(one.process.pid(), name) != support::link_of(other.process.pid(), name));
}

SCENARIO("jail: the root is empty, cannot be written, and nothing is mounted but it", "[jail]") {
  NEEDS_JAIL;
  Probe probe = jailed();
  CHECK(support::entries_of(probe.process.pid(), "root").empty());
  CHECK(support::link_of(probe.process.pid(), "cwd") == "/");
  const std::string mounts = support::file_of(probe.process.pid(), "mounts");
  INFO(mounts);
  CHECK(mounts.find(" / tmpfs ro,nosuid,nodev,noexec,") != std::string::npos);
  CHECK(mounts.find('\n') == mounts.size() - 1);
  const std::string detail = support::file_of(probe.process.pid(), "mountinfo");
  INFO(detail);
  // The mount is read-only, and so is the file system, which has no second inode and nothing to write to it.
  CHECK(detail.find(" / / ro,nosuid,nodev,noexec,") != std::string::npos);
  for (const char* option : {" ro,", "nr_inodes=1", "mode=555", "size=4k"})
    CHECK(detail.substr(detail.find(" - tmpfs ")).find(option) != std::string::npos);
  CHECK(probe.ask("open root") == "ok");
  CHECK(probe.ask("open proc") == "ENOENT");
  CHECK(probe.ask("open above") == "ENOENT");
  CHECK(probe.ask("create file") == "EROFS");
  CHECK(probe.ask("make directory") == "EROFS");
  CHECK(probe.ask("chmod root") == "EROFS");
}

SCENARIO("jail: a child has exactly the descriptors 0 to 3", "[jail]") {
  NEEDS_JAIL;
  // One that is not close-on-exec, as a careless library would leave it; and a standard input that leads somewhere.
  const ipc::UniqueFd careless(::fcntl(0, F_DUPFD, 50));
  const ipc::UniqueFd input(::fcntl(0, F_DUPFD_CLOEXEC, 60));
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  const ipc::UniqueFd out(pipe[0]);
  const ipc::UniqueFd in(pipe[1]);
  REQUIRE(::dup2(out.get(), 0) == 0);
  Probe probe = jailed();
  REQUIRE(::dup2(input.get(), 0) == 0);
  CHECK(support::entries_of(probe.process.pid(), "fd") == std::vector<std::string>{"0", "1", "2", "3"});
  CHECK(support::link_of(probe.process.pid(), "fd/0") == "/dev/null");
  CHECK(support::link_of(probe.process.pid(), "fd/1") == "/dev/null");
  CHECK(support::link_of(probe.process.pid(), "fd/2").starts_with("pipe:"));
  CHECK(support::link_of(probe.process.pid(), "fd/3").starts_with("socket:"));
}

SCENARIO("jail: a child has its arguments, no environment and a strict umask", "[jail]") {
  NEEDS_JAIL;
  Probe probe = jailed();
  CHECK(probe.ask("arguments") == "3 probe last");
  CHECK(probe.ask("environment") == "empty");
  CHECK(support::file_of(probe.process.pid(), "environ").empty());
  CHECK(probe.ask("umask") == std::to_string(077));
}

SCENARIO("jail: no signal is blocked, ignored or handled", "[jail]") {
  NEEDS_JAIL;
  ::signal(SIGPIPE, SIG_IGN);
  Probe probe = jailed();
  ::signal(SIGPIPE, SIG_DFL);
  auto status = support::status_of(probe.process.pid());
  for (const char* set : {"SigBlk", "SigIgn", "SigCgt"}) CHECK(status[set] == "0000000000000000");
}

SCENARIO("jail: the limits are those asked for, soft and hard", "[jail]") {
  NEEDS_JAIL;
  Probe probe = jailed(
      {.open_files = 33, .file_bytes = 1 << 20, .threads = 1, .locked_bytes = 65536, .address_space = rlim_t{1} << 30});
  const std::string limits = support::file_of(probe.process.pid(), "limits");
  const auto both = [&](const std::string& name, const std::string& value) {
    std::string line = limits.substr(limits.find(name));
    line.resize(line.find('\n'));
    INFO(line);
    return line.find(" " + value + " ") < line.rfind(" " + value + " ");
  };
  CHECK(both("Max open files", "33"));
  CHECK(both("Max file size", "1048576"));
  CHECK(both("Max processes", "1"));
  CHECK(both("Max locked memory", "65536"));
  CHECK(both("Max address space", "1073741824"));
  CHECK(both("Max msgqueue size", "0"));
  CHECK(both("Max pending signals", "64"));
  CHECK(both("Max core file size", "0"));
  CHECK(probe.ask("fork") == "EAGAIN");
  CHECK(probe.ask("write beyond") == "EFBIG");
}
