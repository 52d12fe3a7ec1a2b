// The tables of system calls as golden/tables.txt has them, which no change of a policy changes. Header-only; asserts
// nothing.
#pragma once

#include <seccomp.h>

#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace support {

inline std::string golden_tables() {
  std::ifstream file(BULKHEAD_GOLDEN_TABLES);
  std::ostringstream text;
  for (std::string line; std::getline(file, line);)
    if (!line.starts_with('#')) text << line << "\n";
  return text.str();
}

// The numbers of the calls that the table lists, whatever their arguments.
inline std::set<long> golden_calls(const std::string& table) {
  std::istringstream lines(golden_tables());
  std::set<long> calls;
  std::string line;
  while (std::getline(lines, line) && line != table) {
  }
  while (std::getline(lines, line) && line.starts_with(' ')) {
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    const int number = ::seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name.c_str());
    if (number < 0) throw std::runtime_error("no system call: " + name);
    calls.insert(number);
  }
  if (calls.empty()) throw std::runtime_error("no table: " + table);
  return calls;
}

}  // namespace support
