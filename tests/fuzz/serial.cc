// Fuzz target: a guest's accesses to the serial port, and what its host side does meanwhile.
#include "vcpu-host/devices/serial.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "tests/support/fake_hypervisor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace vcpu_host;
  auto loop = EventLoop::create();
  int ends[2] = {-1, -1};
  if (!loop || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 0;
  ipc::UniqueFd host(ends[0]);
  const ipc::UniqueFd irq = make_event();
  auto serial = Serial::create(*loop, ipc::UniqueFd(ends[1]), irq);
  if (!serial) return 0;

  // Each step is two bytes: what is done where, and a value.
  for (std::size_t i = 0; i + 1 < size; i += 2) {
    const unsigned number = bytes[i] % 8;
    std::array<std::byte, 8> data;
    data.fill(static_cast<std::byte>(bytes[i + 1]));
    const std::size_t width = std::min<std::size_t>(std::size_t{1} << (bytes[i] >> 3) % 4, 8 - number);
    switch (bytes[i] >> 5) {
      case 0:
        if (host) ::send(host.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      case 1:
        if (host) ::recv(host.get(), data.data(), data.size(), MSG_DONTWAIT);
        break;
      case 2:
        static_cast<void>(loop->run_once(0));
        break;
      case 3:
        if (bytes[i + 1] == 0xff) host = ipc::UniqueFd();
        break;
      case 4:
      case 5:
        (*serial)->read(number, std::span(data).first(width));
        break;
      default:
        (*serial)->write(number, std::span(data).first(width));
    }
  }
  return 0;
}
