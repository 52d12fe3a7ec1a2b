// What a process can give up that nobody jailed before it started.
#pragma once

#include <vector>

#include "ipc/error.h"
#include "sandbox/seal.h"

namespace blk {

// Own namespaces as far as the kernel lets us, no capability, no core dumps, and then
// sandbox::lock_down(). When everything is open, and before any thread is started. One layer for each
// thing that a child of bulkhead-monitor has, in force or not. An error if what the kernel has cannot be applied.
ipc::Result<std::vector<sandbox::Layer>> isolate();

// "own network, capabilities dropped, ..." of those that are `present`, or not.
std::string list_layers(const std::vector<sandbox::Layer>& layers, bool present);

}  // namespace blk
