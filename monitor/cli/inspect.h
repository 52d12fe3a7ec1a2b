// `bulkhead inspect`: what each process of a running machine really may do, as /proc tells.
#pragma once

#include <string>
#include <vector>

#include "ipc/error.h"

namespace cli {

struct Fact {
  std::string name;
  std::string value;
  bool weak = false;  // less than every such process has
};

struct Inspected {
  std::string name;  // "blk0"
  int pid;
  std::vector<Fact> facts;
};

// Of a process of the machine whose monitor is `monitor`. ESRCH if it has gone.
ipc::Result<Inspected> inspect_process(const std::string& name, int pid, int monitor);

// Prints the machine's processes. False: one of them is weaker than it should be. An error names the machine.
ipc::Result<bool> inspect_machine(const std::string& vm, bool json);

}  // namespace cli
