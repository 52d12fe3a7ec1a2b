#include "monitor/cli/machine_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "ipc/unix_socket.h"

namespace cli {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

constexpr std::chrono::seconds kPatience{5};

Result<> ask(const std::string& folder, const Fill& fill, const Read& read, const UniqueFd& file) {
  ipc::ControlChannel channel(TRY(ipc::connect_unix(folder + "/control", SOCK_SEQPACKET)));
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<schema::MachineRequest>());
  const int fd = file.get();
  auto frame = TRY(channel.ask(message, file ? std::span(&fd, 1) : std::span<const int>(), kPatience));
  return ipc::guarded([&]() -> Result<> {
    const auto answer = frame.root<schema::MachineAnswer>();
    if (answer.isFailed()) return failure(0, answer.getFailed().cStr());
    return read(answer);
  });
}

}  // namespace

Result<std::string> control_folder(const std::string& vm) {
  if (vm.find('/') != std::string::npos) return vm;
  if (::geteuid() == 0) return "/run/bulkhead/" + vm;
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime != '\0') return fmt::format("{}/bulkhead/{}", runtime, vm);
  return failure(0, fmt::format("{}: XDG_RUNTIME_DIR is not set; the path of a control folder is right", vm));
}

Result<> ask_machine(const std::string& vm, const Fill& fill, const Read& read, const UniqueFd& file) {
  const std::string folder = TRY(control_folder(vm));
  auto asked = ask(folder, fill, read, file);
  if (!asked && (asked.error().code == ENOENT || asked.error().code == ECONNREFUSED))
    return failure(0, fmt::format("{}: no machine of that name runs with a control folder (bulkhead run --name)", vm));
  if (!asked) asked.error().context = fmt::format("{}: {}", vm, asked.error().context);
  return asked;
}

Result<> restart_device(const std::string& vm, const std::string& device, const std::string& binary) {
  UniqueFd program;
  if (!binary.empty()) {
    if (::access(binary.c_str(), X_OK) != 0) return ipc::system_failure(binary);
    program = UniqueFd(::open(binary.c_str(), O_PATH | O_CLOEXEC));
    if (!program) return ipc::system_failure(binary);
  }
  return ask_machine(
      vm, [&](schema::MachineRequest::Builder request) { request.setRestart(device); },
      [](schema::MachineAnswer::Reader answer) -> Result<> {
        return answer.isDone() ? Result<>() : failure(EBADMSG, "another answer than asked for");
      },
      program);
}

}  // namespace cli
