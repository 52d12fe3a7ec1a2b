#include "monitor/cli/launch.h"

#include <capnp/serialize.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

#include "ipc/unique_fd.h"

namespace cli {

using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr int kMachineFd = 3;  // where bulkhead-monitor looks for it

Result<UniqueFd> seal_message(capnp::MessageBuilder& machine) {
  UniqueFd file(::memfd_create("machine", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return ipc::system_failure("make a memfd");
  const auto words = capnp::messageToFlatArray(machine);
  const auto bytes = words.asBytes();
  if (::write(file.get(), bytes.begin(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return ipc::system_failure("write the machine's description");
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return ipc::system_failure("seal the machine's description");
  return file;
}

Result<> place(UniqueFd file) {
  if (file.get() == kMachineFd) {
    if (::fcntl(file.release(), F_SETFD, 0) == 0) return {};
  } else if (::dup2(file.get(), kMachineFd) >= 0) {
    return {};
  }
  return ipc::system_failure("hand over the machine's description");
}

Result<> replace(capnp::MessageBuilder& machine, std::string directory) {
  if (directory.empty()) {
    std::error_code error;
    directory = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    if (error) return ipc::failure(error.value(), "find where bulkhead is: read /proc/self/exe");
  }
  // The first three are the monitor's to write to, even where the caller has closed them.
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return ipc::system_failure("open /dev/null");
  UniqueFd message = TRY(seal_message(machine));
  TRY(place(std::move(message)));
  const std::string program = directory + "/bulkhead-monitor";
  std::string name = "bulkhead-monitor";
  char* const arguments[] = {name.data(), nullptr};
  // No descriptor that the caller happened to leave open goes on to the privileged process.
  if (::close_range(kMachineFd + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0) return ipc::system_failure("close_range");
  ::execv(program.c_str(), arguments);
  return ipc::system_failure(fmt::format("run {}", program));
}

}  // namespace

ipc::Error launch(capnp::MessageBuilder& machine, std::string directory) {
  return replace(machine, std::move(directory)).error();
}

}  // namespace cli
