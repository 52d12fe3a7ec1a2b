// What a child does between clone3(2) and execveat(2). Private to spawn() and start_helper().
#pragma once

#include <sys/resource.h>

#include <array>
#include <optional>
#include <span>

#include "sandbox/child_process.h"

namespace sandbox::jail {

struct Limit {
  int resource;
  rlimit value;
};

// All that the child needs, made before the clone: the child of a process that may have threads must
// not allocate, and only makes plain system calls.
struct Plan {
  int null;
  int log;
  int control;
  int program;
  int report;  // close-on-exec: the parent reads a Report, or that the program runs
  char* const* arguments;
  std::optional<Identity> identity;
  std::array<char, 32> uid_map;  // "1000 1000 1", for a user namespace
  std::array<char, 32> gid_map;
  std::span<const Limit> limits;
  bool dies_with_parent = true;
  int folder = -1;  // outside of a jail: where it works
};

// The step that failed and its errno.
struct Report {
  std::array<char, 24> step;
  int error;
};

// The CLONE_NEW* flags of the child.
unsigned long long namespaces(const Plan& plan);

[[noreturn]] void enter(const Plan& plan);

// The same without a jail: descriptors, signals and session are as there, nothing is taken away.
[[noreturn]] void stay_outside(const Plan& plan);

}  // namespace sandbox::jail
