#include "tests/system/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace system_test {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run by ctest");
  return value;
}

std::vector<std::string> arguments_of(const Options& options) {
  std::vector<std::string> arguments{
      bin("bulkhead"), "run", "--serial", "stdio", "--cpus", std::to_string(options.cpus), "--memory", options.memory};
  arguments.insert(arguments.end(), {"--kernel", guest(options.flavour + "/" + options.image)});
  arguments.insert(arguments.end(), {"--initrd", guest(options.flavour + "/initramfs")});
  // panic=-1: a guest that panics resets, and the test sees it, instead of waiting.
  arguments.insert(arguments.end(), {"--cmdline", "console=ttyS0 root=/dev/vda rw panic=-1 init=" + options.init +
                                                      (options.quiet ? " quiet " : " ") + options.cmdline});
  if (!options.disk.empty()) arguments.insert(arguments.end(), {"--disk", "path=" + options.disk});
  arguments.insert(arguments.end(), options.more.begin(), options.more.end());
  return arguments;
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

std::string new_root_disk(const std::string& name) {
  const std::string path = work_file(name);
  std::filesystem::remove(path);
  const Outcome copied = run({"cp", "--sparse=always", guest("root.ext4"), path});
  if (copied.status != 0) throw std::runtime_error("cp: " + copied.errors);
  std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  return path;
}

Machine::Machine(const Options& options) : Command(arguments_of(options)) {}

bool Machine::reach_shell() {
  if (!expect("# ", kBoot)) return false;
  // Without an echo, everything that comes out is an answer. Two halves, as this line is still echoed.
  send("stty -echo; PS1= PS2=; export PATH=/usr/sbin:/usr/bin:/sbin:/bin; echo 'shell 'ready\n");
  return expect("shell ready", kAnswer);
}

std::string Machine::run(const std::string& command) {
  send("{ " + command + "\n} 2>&1; echo 'command 'done\n");
  std::optional<std::string> answer = read_until("command done", kAnswer);
  if (!answer) return "(no answer)";
  std::erase(*answer, '\r');
  answer->erase(0, answer->find_first_not_of('\n'));
  return *answer;
}

int Machine::power_off() {
  send("sync; mount -o remount,ro /; busybox poweroff -f\n");
  return wait(kAnswer).value_or(-1);
}

}  // namespace system_test
