// What /proc tells of the processes of a running machine.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace system_test {

struct Process {
  pid_t pid;
  std::string name;    // the last part of argv[0]
  std::uint64_t born;  // start time: tells a process from a later one with its pid
};

std::vector<Process> children_of(pid_t parent);  // of any depth
const Process* find_by_name(const std::vector<Process>& processes, const std::string& name);
bool exists(const Process& process);  // and is no zombie

// What a machine could leave behind on the host.
struct Footprint {
  std::vector<std::string> processes;  // of Bulkhead
  std::vector<std::string> files;      // in /run, /tmp, /dev/shm
  std::vector<std::string> mounts;
  std::vector<std::string> cgroups;
  bool operator==(const Footprint&) const = default;
};
Footprint footprint();
std::ostream& operator<<(std::ostream& out, const Footprint& footprint);

// A field of /proc/PID/status, "Uid": what follows the colon, single spaces.
std::string status_field(pid_t pid, const std::string& name);

// Everything that a process is allowed and holds, one fact a line, without numbers that differ from
// run to run. `spawner` is the process whose namespaces and uid others are compared with.
std::string describe(pid_t process, pid_t spawner);

// Proportional set size of all but guest RAM, in KiB.
std::uint64_t own_memory_kib(pid_t process);

}  // namespace system_test
