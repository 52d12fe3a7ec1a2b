#include "tests/system/guest_shell.h"

#include <cstdlib>
#include <stdexcept>

namespace system_test {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run by ctest");
  return value;
}

}  // namespace

std::string bin(const std::string& program) {
  return environment("BULKHEAD_BIN") + "/" + program;
}
std::string guest(const std::string& file) {
  return environment("BULKHEAD_GUEST") + "/" + file;
}
std::string work_file(const std::string& name) {
  return environment("BULKHEAD_SYSTEM_DIR") + "/" + name;
}

bool GuestShell::reach_shell() {
  if (!expect("# ", kBoot)) return false;
  // Without an echo, and without the marks that a login shell puts around a pasted line, everything that comes out is
  // an answer. Two halves, as this line is still echoed.
  send("stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; PS1= PS2=\n");
  send("export PATH=/usr/sbin:/usr/bin:/sbin:/bin; echo 'shell 'ready\n");
  return expect("shell ready", kAnswer);
}

std::string GuestShell::run(const std::string& command, Seconds limit) {
  send("{ " + command + "\n} 2>&1; echo 'command 'done\n");
  std::optional<std::string> answer = read_until("command done", limit);
  if (!answer) return "(no answer)";
  std::erase(*answer, '\r');
  answer->erase(0, answer->find_first_not_of('\n'));
  return *answer;
}

int GuestShell::power_off() {
  send("sync; mount -o remount,ro /; busybox poweroff -f\n");
  return wait(kAnswer).value_or(-1);
}

}  // namespace system_test
