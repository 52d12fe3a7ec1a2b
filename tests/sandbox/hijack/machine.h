// The processes of running machines, taken over: each call that is tried costs what it is tried on.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/sandbox/hijack/attack.h"

namespace hijacked {

// One of vcpu-host's threads, in their order, and the table it has in golden/tables.txt.
struct VcpuHostThread {
  std::size_t index;
  std::string table;
};
inline const VcpuHostThread kEventLoop{0, "event loop"};
inline const VcpuHostThread kFirstVcpu{1, "vcpu"};

// vcpu-host's thread makes each, in a machine of two vCPUs: what is wrong with what comes of it. It dies with its
// machine, and the monitor tells why.
std::vector<std::string> wrong_of_vcpu_host(const VcpuHostThread& thread, const std::vector<Call>& calls);
// What a vcpu-host holds: requests() on it, and to run a vCPU by the other's thread or by none.
std::vector<Call> requests_of_vcpu_host(const VcpuHostThread& thread);

// The monitor makes it, confined and with children: it dies, and they go.
std::string try_on_monitor(const Call& call);
std::vector<Call> requests_of_monitor();

// The spawner of such a monitor makes each, and lives on: what is wrong with what it was answered, which is EPERM.
std::vector<std::string> refused_to_spawner(const std::vector<Call>& calls);
// It makes one that it dies of: so does the machine.
std::string try_on_spawner(const Call& call);

// A monitored disk's back end makes each: it dies and is replaced while a driver is at work, which does not notice.
struct Tried {
  std::vector<std::string> wrong;
  std::string told;  // by the monitor
};
Tried try_on_blk(const std::vector<Call>& calls);

// What the monitor says when it knows which call it was. Only the kernel's log tells, and that leaves records out while
// there are many.
std::string cause(const Call& call);

}  // namespace hijacked
