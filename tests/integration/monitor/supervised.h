// A bulkhead-monitor whose children are fakes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ipc/schema/machine.capnp.h"
#include "tests/system/command.h"
#include "tests/system/processes.h"

namespace supervised {

using system_test::Seconds;

constexpr Seconds kPatience(30);  // for what takes milliseconds on a machine that is not loaded

// A folder for one test.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string at(const std::string& name) const { return path_ / name; }
  std::string file(const std::string& name, std::size_t bytes) const;

 private:
  std::filesystem::path path_;
};

struct Disk {
  std::string path;
  std::string serial = {};  // for a fake: what it does
  bool readonly = false;
  std::uint16_t queues = 0;
};

struct Wish {
  std::string kernel;
  std::string cmdline = {};  // for a fake: what it does
  std::vector<Disk> disks = {};
  unsigned memory_mib = 16;
  std::string control = {};  // folder
  std::vector<ipc::schema::Isolation::Layer> required = {};
  enum class Children { Fakes, RealBlkAndDriver } children = Children::Fakes;
};

// What starts the monitor with that machine on descriptor 3. `prelude` is a shell command that comes before.
std::vector<std::string> command_line(const Folder& folder, const Wish& wish, const std::string& prelude = ":");

// The monitor with that machine on descriptor 3, its serial port on the command's pipes. `prelude` is a shell
// command that comes before.
class Monitor : public system_test::Command {
 public:
  Monitor(const Folder& folder, const Wish& wish, const std::string& prelude = ":");
};

// Why no child can be started here; empty: it can.
std::string no_children();
#define NEEDS_CHILDREN()                                                                                  \
  do {                                                                                                    \
    if (const std::string reason = supervised::no_children(); !reason.empty()) SKIP_TEST(reason.c_str()); \
  } while (false)

std::size_t open_descriptors(pid_t process);

}  // namespace supervised
