// CPU time of another process.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace bench {

// User and system time of all threads that process `pid` has or had, its io_uring workers among them, in seconds.
// 0 if there is none. Steps of 1/100 s (proc(5), fields 14 and 15 of stat).
inline double process_seconds(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string before_name;
  std::getline(file, before_name, ')');
  std::string skipped;
  for (int field = 3; field < 14; ++field) file >> skipped;
  double user = 0;
  double system = 0;
  file >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace bench
