#include "tests/system/machine.h"

#include <filesystem>
#include <stdexcept>

namespace system_test {
namespace {

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

std::string new_root_disk(const std::string& name) {
  const std::string path = work_file(name);
  std::filesystem::remove(path);
  const Outcome copied = run({"cp", "--sparse=always", guest("root.ext4"), path});
  if (copied.status != 0) throw std::runtime_error("cp: " + copied.errors);
  std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  return path;
}

Machine::Machine(const Options& options) : GuestShell(arguments_of(options)) {}

}  // namespace system_test
