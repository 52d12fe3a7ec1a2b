// How a child gives up what it no longer needs, between its setup and the first byte from a guest.
//
// In main(), when everything is open and mapped, and before any thread is started:
//     TRY(sandbox::lock_down());
//     ... start threads, each of which enters its own compiled Filter first ...
//     TRY(sandbox::enter_filter(policy, sandbox::Slots().set(sandbox::Slot::Ring, ring)));
// A call that the policy lacks ends the process by SIGSYS, and the monitor says so, with the call where the kernel's
// log has it. HACKING.md tells more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/error.h"

namespace sandbox {

// The layers beneath the seccomp filter.
struct Protections {
  bool no_new_privs = false;
  bool not_dumpable = false;          // no ptrace, no /proc/PID/mem, no core, even for the same uid
  bool deny_write_execute = false;    // PR_SET_MDWE, Linux 6.3: no memory becomes executable
  std::uint16_t landlock_abi = 0;     // 0: none; 1: files; 4: TCP; 6: abstract sockets and signals
  bool seccomp_kill_process = false;  // the filters' only answer; Linux 4.14
  bool core_scheduling = false;       // a core's threads are never shared with others; Linux 5.14
};

// What the kernel offers; changes nothing about the caller.
Protections supported_protections();

// Applies every layer that the kernel has, as far as it has it, to this process and the threads it
// starts later. An error if a layer that it has cannot be applied. seccomp_kill_process only tells
// that a filter can be entered. Under BULKHEAD_SANITIZED nothing is applied.
ipc::Result<Protections> lock_down();

// From now on this process, and those that it starts, run on no core at the same time as any other process: one cannot
// learn from caches and buffers what the other does. Nothing where they have that already, where there are no such
// cores, or where the kernel cannot.
ipc::Result<> own_core();

struct Layer {
  std::string_view name;
  bool present;
  std::string detail;  // "ABI 7: files, TCP, signals"; "needs Linux 6.3"
};

// For people: one line for each layer.
std::vector<Layer> layers(const Protections& protections);

// For programs: a bit for each that is present.
std::uint32_t layer_bits(const Protections& protections);

}  // namespace sandbox
