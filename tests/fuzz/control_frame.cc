// Fuzz target: bytes where control frames belong: the machine's description on the monitor's descriptor 3, and the
// monitor's messages to vcpu-host, with as many descriptors as the first byte says.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "ipc/descriptor_passing.h"
#include "monitor/configuration.h"
#include "vcpu-host/monitor_link.h"

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
  return 0;
}
