// A virtual machine of `bulkhead run` whose serial console is the test's.
#pragma once

#include <string>
#include <vector>

#include "tests/system/guest_shell.h"

namespace system_test {

std::string new_root_disk(const std::string& name = "root.ext4");  // a fresh copy of the guest's root, its path

struct Options {
  std::string flavour = "cloud";  // cloud, full, rt
  std::string image = "vmlinux";  // vmlinux: by PVH; vmlinuz: bzImage
  unsigned cpus = 1;
  std::string memory = "256M";
  std::string disk{};     // path; empty: none
  std::string cmdline{};  // after what every guest here gets
  std::string init = "/bin/sh";
  bool quiet = true;
  std::vector<std::string> more{};  // further arguments
};

class Machine : public GuestShell {
 public:
  explicit Machine(const Options& options);
};

}  // namespace system_test
