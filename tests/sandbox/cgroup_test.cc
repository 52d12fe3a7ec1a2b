// A machine's cgroup. Where cgroup v2 has no controllers of its own (they may be v1's) the limits themselves are seen
// by the system tests alone.
#include "sandbox/cgroup.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/folder.h"

using Catch::Matchers::Contains;
using sandbox::Cgroup;
using sandbox::CgroupLimits;
using support::must;

namespace {

// The hierarchy of version 2, wherever this host has it, at a place of our own.
class Hierarchy {
 public:
  Hierarchy() { mounted_ = ::mount("none", path().c_str(), "cgroup2", 0, nullptr) == 0; }
  ~Hierarchy() {
    ::rmdir(parent().c_str());
    if (mounted_) ::umount(path().c_str());
  }
  Hierarchy(const Hierarchy&) = delete;
  Hierarchy& operator=(const Hierarchy&) = delete;

  bool mounted() const { return mounted_; }
  std::string path() const { return folder_.file(""); }
  std::string parent() const { return path() + "bulkhead-test"; }
  bool has(const std::string& controller) const {
    std::istringstream words(read(path() + "cgroup.controllers"));
    return std::ranges::any_of(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>(),
                               [&](const std::string& word) { return word == controller; });
  }
  static std::string read(const std::string& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
  }

 private:
  support::Folder folder_;
  bool mounted_ = false;
};

std::string refusal(const std::string& parent, const CgroupLimits& limits) {
  const auto made = Cgroup::make(parent, "vm", limits);
  return made ? "" : ipc::describe(made.error());
}

}  // namespace

#define NEEDS_CGROUP(hierarchy) \
  if (!(hierarchy).mounted()) SKIP_TEST("no right to mount a cgroup v2 hierarchy")

SCENARIO("cgroup: a machine without limits has none", "[cgroup]") {
  const Cgroup none = must(Cgroup::make("", "vm", {}));
  CHECK(none.directory() == nullptr);
}

SCENARIO("cgroup: what cannot be is said in one line that names it", "[cgroup]") {
  const support::Folder folder;
  CHECK_THAT(refusal(folder.file(""), {.io_weight = 10'001}), Contains("ioWeight 10001, 1 to 10000"));
  CHECK_THAT(refusal(folder.file("cgroup"), {.processes = 10}), Contains("no hierarchy of version 2 there"));
  CHECK_FALSE(std::filesystem::exists(folder.file("cgroup")));
  CHECK_THAT(refusal("/nowhere/at/all", {.processes = 10}), Contains("/nowhere/at/all: No such file"));
}

SCENARIO("cgroup: a controller that the host does not have there is named, and nothing is left behind", "[cgroup]") {
  const Hierarchy hierarchy;
  NEEDS_CGROUP(hierarchy);
  if (hierarchy.has("pids")) SKIP_TEST("this host's cgroup v2 has all controllers");
  CHECK_THAT(refusal(hierarchy.parent(), {.processes = 10}),
             Contains(hierarchy.parent()) && Contains("the controller pids cannot be had there"));
  CHECK_FALSE(std::filesystem::exists(hierarchy.parent()));
}

SCENARIO("cgroup: a machine is put where its operator says, with no limit too", "[cgroup]") {
  const Hierarchy hierarchy;
  NEEDS_CGROUP(hierarchy);
  {
    const Cgroup cgroup = must(Cgroup::make(hierarchy.parent(), "vm", {}));
    CHECK(cgroup.directory() != nullptr);
    CHECK(std::filesystem::exists(hierarchy.parent() + "/vm/cgroup.procs"));
    CHECK_FALSE(refusal(hierarchy.parent() + "/vm/cgroup.procs", {}).empty());
  }
  CHECK_FALSE(std::filesystem::exists(hierarchy.parent() + "/vm"));
}

SCENARIO("cgroup: limits are as asked, it is the machine's alone, and it goes with the machine", "[cgroup]") {
  const Hierarchy hierarchy;
  NEEDS_CGROUP(hierarchy);
  if (!hierarchy.has("pids")) SKIP_TEST("this host's cgroup v2 has no controllers");
  const CgroupLimits limits{.memory_mib = 100, .processes = 10, .cpu_percent = 150, .io_weight = 50};
  std::filesystem::create_directories(hierarchy.parent() + "/vm");  // of a monitor that was killed
  {
    const Cgroup cgroup = must(Cgroup::make(hierarchy.parent(), "vm", limits));
    const std::string files = hierarchy.parent() + "/vm/";
    CHECK(Hierarchy::read(files + "memory.max") == "104857600\n");
    CHECK(Hierarchy::read(files + "pids.max") == "10\n");
    CHECK(Hierarchy::read(files + "cpu.max") == "150000 100000\n");
    CHECK(Hierarchy::read(files + "io.weight") == "default 50\n");
  }
  CHECK_FALSE(std::filesystem::exists(hierarchy.parent() + "/vm"));
}

SCENARIO("cgroup: a child is in the cgroup from its first instruction", "[cgroup]") {
  NEEDS_JAIL;
  const Hierarchy hierarchy;
  NEEDS_CGROUP(hierarchy);
  REQUIRE(::mkdir(hierarchy.parent().c_str(), 0755) == 0);
  const ipc::UniqueFd directory(::open(hierarchy.parent().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto in_it = [&] { return Hierarchy::read(hierarchy.parent() + "/cgroup.procs"); };
  {
    const auto probe =
        must(support::spawn_probe(support::probe_program(), support::kProbeIdentity, {.threads = 64}, {}, &directory));
    CHECK(in_it() == std::to_string(probe.process.pid()) + "\n");
  }
  CHECK(in_it().empty());
}
