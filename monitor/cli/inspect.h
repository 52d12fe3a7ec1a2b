// `bulkhead inspect`: what each process of a running machine really may do, as /proc tells.
#pragma once

#include <string>

#include "ipc/error.h"

namespace cli {

// Prints the machine's processes. False: one of them is weaker than it should be, or than the machine's configuration
// requires. An error names the machine.
ipc::Result<bool> inspect_machine(const std::string& vm, bool json);

}  // namespace cli
