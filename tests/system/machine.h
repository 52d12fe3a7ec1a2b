// A virtual machine of `bulkhead run` whose serial console is the test's.
#pragma once

#include <string>
#include <vector>

#include "tests/system/command.h"

namespace system_test {

std::string bin(const std::string& program);                       // a program under test
std::string guest(const std::string& file);                        // what make-guest has made, e.g. cloud/vmlinux
std::string work_file(const std::string& name);                    // in the test's own directory
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

class Machine : public Command {
 public:
  explicit Machine(const Options& options);

  // Waits for the shell that is the guest's init; then run() works. False: it did not come.
  bool reach_shell();
  // What a command prints in the guest, without carriage returns; "(no answer)" if it does not end.
  std::string run(const std::string& command);
  // Tells the guest's shell to write everything out and to switch off; bulkhead's exit status, -1: it did not end.
  int power_off();
};

// A guest in the lab, on a loaded machine: far above what it takes.
constexpr Seconds kBoot(240);
constexpr Seconds kAnswer(120);

}  // namespace system_test
