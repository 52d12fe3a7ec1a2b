// Fuzz target: bytes where control frames belong: the machine's description on the monitor's descriptor 3, the
// monitor's messages to vcpu-host, and those of a monitor that an attacker has to its sealed spawner, with as many
// descriptors as the first byte says.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "ipc/descriptor_passing.h"
#include "monitor/configuration.h"
#include "spawner/spawner.h"
#include "vcpu-host/monitor_link.h"

namespace {

// One of a machine without cards, whose programs cannot be executed.
spawner::Spawner& sealed_spawner(const ipc::UniqueFd& null) {
  static spawner::Spawner spawner;
  static bool sealed = false;
  if (std::exchange(sealed, true)) return spawner;
  for (const bool setup : {true, false}) {
    capnp::MallocMessageBuilder message, answer;
    auto request = message.initRoot<ipc::schema::ToSpawner>();
    if (setup)
      request.initSetup();
    else
      request.setSeal();
    auto pair = ipc::ControlChannel::pair();
    ipc::ControlChannel theirs(std::move(pair->theirs));
    const std::vector<int> programs(setup ? 2 : 0, null.get());
    if (!pair->ours.send(message, programs)) std::abort();
    auto frame = theirs.receive();
    auto done = answer.initRoot<ipc::schema::SpawnerAnswer>();
    spawner.answer(**frame, done);
    if (!done.isDone()) std::abort();
  }
  return spawner;
}

void ask_spawner(spawner::Spawner& spawner, std::span<const std::byte> bytes, const std::vector<int>& fds) {
  auto pair = ipc::ControlChannel::pair();
  if (!pair) return;
  ipc::ControlChannel theirs(std::move(pair->theirs));
  static_cast<void>(ipc::send_with_fds(pair->ours.socket(), bytes, fds, MSG_DONTWAIT));
  pair->ours = ipc::ControlChannel();
  auto frame = theirs.receive();
  if (!frame || !*frame) return;
  capnp::MallocMessageBuilder answer;
  auto root = answer.initRoot<ipc::schema::SpawnerAnswer>();
  spawner.answer(**frame, root);
  if (root.isStarted() || root.isTap() || root.isListens()) std::abort();  // nothing of that can be had
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const ipc::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::vector<int> fds(data[0] % 16, null.get());
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);

  ipc::UniqueFd file(::memfd_create("machine", MFD_CLOEXEC));
  if (::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()))
    static_cast<void>(monitor::read_configuration(std::move(file)));

  for (const bool setup : {true, false}) {
    auto pair = ipc::ControlChannel::pair();
    if (!pair) return 0;
    vcpu_host::MonitorLink link{ipc::ControlChannel(std::move(pair->theirs))};
    static_cast<void>(ipc::send_with_fds(pair->ours.socket(), bytes, fds, MSG_DONTWAIT));
    pair->ours = ipc::ControlChannel();  // nothing follows: nobody waits
    if (setup)
      static_cast<void>(link.receive_machine());
    else
      static_cast<void>(link.receive_order());
  }
  ask_spawner(sealed_spawner(null), bytes, fds);
  return 0;
}
