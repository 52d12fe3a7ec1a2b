// CPU time of other processes, as proc(5) tells it: fields 14 and 15 of stat, in steps of 1/100 s.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace bench {

struct ProcessTime {
  int parent = 0;
  double seconds = 0;  // user and system, of all threads that it has or had, its io_uring workers among them
};

// Zeroes if there is no such process.
inline ProcessTime process_time(const std::string& pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string skipped;
  std::getline(file, skipped, ')');  // PID (NAME), where the name may hold blanks
  ProcessTime time;
  file >> skipped >> time.parent;
  for (int field = 5; field < 14; ++field) file >> skipped;
  double user = 0;
  double system = 0;
  file >> user >> system;
  time.seconds = (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return time;
}

// Of the kernel's own threads, whoever they work for, by their numbers.
inline std::map<std::string, double> kernel_threads() {
  constexpr int kThreadd = 2;  // their parent
  std::map<std::string, double> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) continue;
    const ProcessTime time = process_time(name);
    if (time.parent == kThreadd) threads[name] = time.seconds;
  }
  return threads;
}

// What they have run since `before` was taken, in seconds. Those that have ended meanwhile are not seen.
inline double kernel_seconds_since(const std::map<std::string, double>& before) {
  double seconds = 0;
  for (const auto& [thread, now] : kernel_threads()) {
    const auto known = before.find(thread);
    seconds += now - (known == before.end() ? 0 : known->second);
  }
  return seconds;
}

}  // namespace bench
