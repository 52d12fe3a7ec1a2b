// A guest whose init is a shell on the serial console, which is the standard input and output of a command.
#pragma once

#include <string>

#include "tests/system/command.h"

namespace system_test {

std::string bin(const std::string& program);     // a program under test
std::string guest(const std::string& file);      // what make-guest has made, e.g. cloud/vmlinux
std::string work_file(const std::string& name);  // in the test's own directory

// A guest in the lab, on a loaded machine: far above what it takes.
constexpr Seconds kBoot(240);
constexpr Seconds kAnswer(120);

class GuestShell : public Command {
 public:
  using Command::Command;

  // Waits for the shell that is the guest's init; then run() works. False: it did not come.
  bool reach_shell();
  // What a command prints in the guest, without carriage returns; "(no answer)" if it does not end.
  std::string run(const std::string& command, Seconds limit = kAnswer);
  // Tells the guest's shell to write everything out and to switch off; the command's exit status, -1: it did not end.
  int power_off();
};

}  // namespace system_test
