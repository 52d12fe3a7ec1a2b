#include "backends/program/isolation.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "sandbox/capabilities.h"

namespace program {
namespace {

using ipc::Result;
using sandbox::Layer;

#ifndef BULKHEAD_SANITIZED

constexpr std::pair<int, std::string_view> kNamespaces[] = {
    {CLONE_NEWNET, "own network"},   {CLONE_NEWNS, "own mounts"},      {CLONE_NEWIPC, "own IPC"},
    {CLONE_NEWUTS, "own host name"}, {CLONE_NEWCGROUP, "own cgroups"},
};

Result<std::vector<Layer>> leave_host() {
  std::vector<Layer> layers;
  // Who is not root needs a user namespace first, and some hosts do not allow it.
  if (::geteuid() != 0) layers.push_back({"own users", ::unshare(CLONE_NEWUSER) == 0, ""});
  for (const auto& [flag, name] : kNamespaces) layers.push_back({name, ::unshare(flag) == 0, ""});
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return ipc::system_failure("setrlimit(CORE)");
  TRY(sandbox::keep_capabilities(0));
  layers.push_back({"no capabilities", true, ""});
  return layers;
}

#else

Result<std::vector<Layer>> leave_host() {
  return std::vector<Layer>();
}

#endif

}  // namespace

Result<std::vector<Layer>> isolate(Sandbox sandbox) {
  std::vector<Layer> all = TRY(leave_host());
  for (const Layer& layer : sandbox::layers(TRY(sandbox::lock_down()))) all.push_back(layer);
  const std::string missing = list_layers(all, false);
  if (sandbox == Sandbox::Required && !missing.empty())
    return ipc::failure(EPERM, fmt::format("--sandbox=require: this host does not give us: {}", missing));
  // These take a parent that prepares them: bulkhead-monitor.
  for (const std::string_view name : {"own pids", "own uid", "empty root"}) all.push_back({name, false, ""});
  return all;
}

Result<> limit_file_size(std::uint64_t bytes) {
  constexpr std::uint64_t kScratch = 2 << 20;  // the in-flight region, seccomp's program
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0) return ipc::system_failure("getrlimit(FSIZE)");
  limit.rlim_cur = std::min<rlim_t>(std::max(bytes, kScratch), limit.rlim_max);
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return ipc::system_failure("setrlimit(FSIZE)");
  return {};
}

void let_memory_be_locked() {
  constexpr rlimit kAll{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &kAll) == 0) return;
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

std::string list_layers(const std::vector<Layer>& layers, bool present) {
  std::string list;
  for (const Layer& layer : layers) {
    if (layer.present != present) continue;
    if (!list.empty()) list += ", ";
    list += layer.name;
  }
  return list;
}

}  // namespace program
