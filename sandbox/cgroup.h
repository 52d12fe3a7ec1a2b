// What all processes of one machine may use of their host together: a cgroup (v2) of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace sandbox {

// 0: no limit, and as the host has it for the weight.
struct CgroupLimits {
  std::uint32_t memory_mib = 0;   // memory.max: guest RAM as far as it was touched, page cache, the processes' own
  std::uint32_t processes = 0;    // pids.max: threads too
  std::uint32_t cpu_percent = 0;  // cpu.max, of one CPU: 150 is one and a half
  std::uint32_t io_weight = 0;    // io.weight, 1 to 10000: beside 100 of others
  bool any() const { return memory_mib != 0 || processes != 0 || cpu_percent != 0 || io_weight != 0; }
};

class Cgroup {
 public:
  static constexpr const char* kDefaultParent = "/sys/fs/cgroup/bulkhead";

  // Makes the cgroup `name` inside of `parent` (empty: kDefaultParent), which is made if it is not there, and which no
  // process may be in. With neither a limit nor a parent nothing is made. EINVAL: a limit that cannot be; EBUSY:
  // processes are in either cgroup; ENOTSUP: the host has no such controller for `parent`, or it is no cgroup v2.
  // Errors name the path.
  static ipc::Result<Cgroup> make(const std::string& parent, const std::string& name, const CgroupLimits& limits);
  Cgroup(Cgroup&& other) noexcept : path_(std::exchange(other.path_, {})), directory_(std::move(other.directory_)) {}
  Cgroup& operator=(Cgroup&&) = delete;
  ~Cgroup();  // it is removed, if no process is in it

  // For ChildSpec; nullptr: there is none.
  const ipc::UniqueFd* directory() const { return directory_ ? &directory_ : nullptr; }

 private:
  explicit Cgroup(std::string path) : path_(std::move(path)) {}
  std::string path_;  // empty: there is none
  ipc::UniqueFd directory_;
};

}  // namespace sandbox
