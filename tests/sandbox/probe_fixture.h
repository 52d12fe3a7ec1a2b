// A probe in a sandbox, and what /proc says about it from outside.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "sandbox/child_process.h"

namespace support {

// Ours for the length of a test run; no process of the machine has them.
inline constexpr sandbox::Identity kProbeIdentity{.uid = 913001, .gid = 913002};

struct Probe {
  sandbox::ChildProcess process;
  ipc::UniqueFd control;
  ipc::UniqueFd log;  // the reading end

  // What the probe answers, or how it died.
  std::string ask(const std::string& command);
};

std::string probe_path();
ipc::UniqueFd probe_program();
ipc::Result<Probe> spawn_probe(const ipc::UniqueFd& program, std::optional<sandbox::Identity> identity = kProbeIdentity,
                               const sandbox::Limits& limits = {}, std::vector<std::string> arguments = {},
                               const ipc::UniqueFd* cgroup = nullptr);

// The value of a result that must have one; otherwise the test fails with the error's text.
template <class Value>
Value must(ipc::Result<Value> result) {
  if (!result) throw std::runtime_error(ipc::describe(result.error()));
  return std::move(*result);
}

// What `body` returns in a forked process, where it may change what it likes.
std::string in_fork(const std::function<std::string()>& body);

// May this process make jailed children? The reason if not.
std::optional<std::string> cannot_jail();

// The fields of /proc/PID/status, white space folded to single blanks.
std::map<std::string, std::string> status_of(pid_t pid);
std::string link_of(pid_t pid, const std::string& name);                  // /proc/PID/name
std::vector<std::string> entries_of(pid_t pid, const std::string& name);  // sorted
std::string file_of(pid_t pid, const std::string& name);

}  // namespace support

// In a test case that needs children that are really in a jail.
#define NEEDS_JAIL                                                              \
  do {                                                                          \
    if (const auto reason = support::cannot_jail()) SKIP_TEST(reason->c_str()); \
  } while (false)
