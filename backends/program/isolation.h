// What a process can give up that nobody jailed before it started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "sandbox/seal.h"

namespace program {

enum class Sandbox : std::uint8_t {
  Best,      // what the host has
  Required,  // all of it, or an error
};

// Own namespaces as far as the kernel lets us, no capability, no core dumps, and then
// sandbox::lock_down(). When everything is open, and before any thread is started. One layer for each
// thing that a child of bulkhead-monitor has, in force or not. An error if what the kernel has cannot be applied;
// EPERM, with their names, if layers are Required that the host does not have.
ipc::Result<std::vector<sandbox::Layer>> isolate(Sandbox sandbox);

// No file can be written beyond `bytes`, the image's size (or a little, for scratch files). May be raised later.
ipc::Result<> limit_file_size(std::uint64_t bytes);

// Raises RLIMIT_MEMLOCK as far as this process may: while it is root, for good; otherwise to what it was given.
void let_memory_be_locked();

// "own network, capabilities dropped, ..." of those that are `present`, or not.
std::string list_layers(const std::vector<sandbox::Layer>& layers, bool present);

}  // namespace program
