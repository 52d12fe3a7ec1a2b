#include "tests/integration/monitor/supervised.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "ipc/schema/machine.capnp.h"

namespace supervised {

namespace fs = std::filesystem;

Folder::Folder() {
  std::string name = (fs::temp_directory_path() / "bulkhead-integration.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
}
Folder::~Folder() {
  // The spawner of a monitor that was killed removes its own meanwhile.
  std::error_code error;
  for (int tries = 0; tries < 100 && fs::exists(path_, error); ++tries) {
    fs::remove_all(path_, error);
    if (error) std::this_thread::sleep_for(Seconds(0.02));
  }
}
std::string Folder::file(const std::string& name, std::size_t bytes) const {
  std::ofstream(at(name)) << std::string(bytes, 'x');
  return at(name);
}

namespace {

// The monitor finds its children beside itself: a folder with a copy of it, and of them.
std::string make_beside(const Folder& folder, const std::string& vcpu_host, const std::string& blk) {
  for (const std::string ours : {"bulkhead-monitor", "bulkhead-spawner"})
    fs::copy_file(std::string(std::getenv("BULKHEAD_BIN")) + "/" + ours, folder.at(ours));
  fs::copy_file(vcpu_host, folder.at("bulkhead-vcpu-host"));
  fs::copy_file(blk, folder.at("bulkhead-blk"));
  return folder.at("bulkhead-monitor");
}

std::string monitor_beside(Wish::Children children) {
  if (children == Wish::Children::Fakes) {
    static const Folder folder;
    static const std::string monitor = make_beside(folder, FAKE_CHILD, FAKE_CHILD);
    return monitor;
  }
  static const Folder folder;
  static const std::string monitor =
      make_beside(folder, DRIVING_CHILD, std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-blk");
  return monitor;
}

}  // namespace

std::vector<std::string> command_line(const Folder& folder, const Wish& wish, const std::string& prelude) {
  capnp::MallocMessageBuilder message;
  auto machine = message.initRoot<ipc::schema::Machine>();
  machine.setKernel(wish.kernel.c_str());
  machine.setCmdline(wish.cmdline.c_str());
  machine.setMemoryMib(wish.memory_mib);
  machine.setControl(wish.control.c_str());
  auto required = machine.initIsolation().initRequire(static_cast<unsigned>(wish.required.size()));
  for (unsigned i = 0; i < required.size(); ++i) required.set(i, wish.required[i]);
  auto disks = machine.initDisks(static_cast<unsigned>(wish.disks.size()));
  for (unsigned i = 0; i < disks.size(); ++i) {
    disks[i].setPath(wish.disks[i].path.c_str());
    disks[i].setSerial(wish.disks[i].serial.c_str());
    disks[i].setReadonly(wish.disks[i].readonly);
    disks[i].setQueues(wish.disks[i].queues);
  }
  const std::string path = folder.at("machine");
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asChars();
  std::ofstream(path).write(bytes.begin(), static_cast<std::streamsize>(bytes.size()));
  return {"/bin/sh", "-c", "exec 3<\"$0\"; " + prelude + "; exec \"$1\"", path, monitor_beside(wish.children)};
}

Monitor::Monitor(const Folder& folder, const Wish& wish, const std::string& prelude)
    : Command(command_line(folder, wish, prelude)) {}

std::string no_children() {
#ifdef BULKHEAD_SANITIZED
  return "in a build with sanitizers there are no jailed children";
#else
  if (std::getenv("BULKHEAD_KVM_REQUIRED") != nullptr) return {};
  return ipc::UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)) ? "" : "no /dev/kvm: the same runs in the lab";
#endif
}

std::size_t open_descriptors(pid_t process) {
  const fs::directory_iterator all(fs::path("/proc") / std::to_string(process) / "fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace supervised
