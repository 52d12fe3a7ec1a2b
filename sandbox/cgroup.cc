#include "sandbox/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <vector>

namespace sandbox {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr unsigned kPeriodUs = 100'000;  // cpu.max's own default

// A file of a cgroup, and the controller that must be on for it to be there.
struct Setting {
  std::string controller, file, value;
};

Result<std::vector<Setting>> settings_of(const CgroupLimits& limits) {
  constexpr std::uint32_t kMostIoWeight = 10'000;
  if (limits.io_weight > kMostIoWeight)
    return ipc::failure(EINVAL, fmt::format("limits: ioWeight {}, 1 to {} are right", limits.io_weight, kMostIoWeight));
  std::vector<Setting> settings;
  if (limits.memory_mib != 0)
    settings.push_back({"memory", "memory.max", fmt::format("{}", std::uint64_t{limits.memory_mib} << 20)});
  if (limits.processes != 0) settings.push_back({"pids", "pids.max", fmt::format("{}", limits.processes)});
  if (limits.cpu_percent != 0)
    settings.push_back(
        {"cpu", "cpu.max", fmt::format("{} {}", std::uint64_t{limits.cpu_percent} * (kPeriodUs / 100), kPeriodUs)});
  if (limits.io_weight != 0) settings.push_back({"io", "io.weight", fmt::format("default {}", limits.io_weight)});
  return settings;
}

// cgroup's files take a whole value by one write(2).
Result<> write_file(const UniqueFd& directory, const std::string& name, std::string_view text) {
  const UniqueFd file(::openat(directory.get(), name.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return ipc::system_failure(name);
  return {};
}

Result<UniqueFd> open_cgroup(const std::string& path) {
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return ipc::system_failure(path);
  struct statfs system{};
  if (::fstatfs(directory.get(), &system) != 0) return ipc::system_failure(path);
  if (system.f_type != CGROUP2_SUPER_MAGIC)
    return ipc::failure(ENOTSUP, fmt::format("cgroup {}: this host has no hierarchy of version 2 there", path));
  return directory;
}

// What children of the cgroup `path` are to be limited by. Those that it does not have itself its own parent has to
// pass on.
Result<> prepare(const std::string& path, const std::vector<Setting>& settings) {
  const UniqueFd directory = TRY(open_cgroup(path));
  const UniqueFd above(::openat(directory.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const Setting& setting : settings) {
    const std::string on = "+" + setting.controller;
    if (above) static_cast<void>(write_file(above, "cgroup.subtree_control", on));  // or it is on, or not ours to do
    const auto enabled = write_file(directory, "cgroup.subtree_control", on);
    if (enabled) continue;
    if (enabled.error().code == EBUSY)
      return ipc::failure(EBUSY, fmt::format("cgroup {}: processes are in it; one without is right", path));
    return ipc::failure(ENOTSUP,
                        fmt::format("cgroup {}: the controller {} cannot be had there", path, setting.controller));
  }
  return {};
}

}  // namespace

Result<Cgroup> Cgroup::make(const std::string& parent, const std::string& name, const CgroupLimits& limits) {
  if (!limits.any() && parent.empty()) return Cgroup({});
  const auto settings = TRY(settings_of(limits));
  const std::string above = parent.empty() ? kDefaultParent : parent;
  const bool ours = ::mkdir(above.c_str(), 0755) == 0;
  if (!ours && errno != EEXIST) return ipc::system_failure("cgroup " + above);
  auto prepared = prepare(above, settings);
  if (!prepared && ours) ::rmdir(above.c_str());
  TRY(std::move(prepared));
  const std::string path = above + "/" + name;
  // A monitor that was killed has left it behind: empty, as its children die with it.
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT)
    return ipc::failure(errno, fmt::format("cgroup {}: in use by another machine", path));
  if (::mkdir(path.c_str(), 0755) != 0) return ipc::system_failure("cgroup " + path);
  Cgroup made(path);
  made.directory_ = TRY(open_cgroup(path));
  for (const Setting& setting : settings)
    if (const auto set = write_file(made.directory_, setting.file, setting.value); !set)
      return ipc::failure(set.error().code, fmt::format("cgroup {}: {}", path, set.error().context));
  return made;
}

Cgroup::~Cgroup() {
  if (!path_.empty()) ::rmdir(path_.c_str());
}

}  // namespace sandbox
