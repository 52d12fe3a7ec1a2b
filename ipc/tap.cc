#include "ipc/tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cctype>

namespace ipc {
namespace {

constexpr int kHeaderBytes = 12;  // struct virtio_net_hdr_v1

// `name` becomes what the kernel has found, if it is empty.
Result<UniqueFd> open_queue(std::string& name, bool several) {
  UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!tap) return system_failure("/dev/net/tun");
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0));
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0) {
    if (errno == EINVAL)
      return failure(EINVAL, fmt::format("tap {}: there is an interface of that name with other properties", name));
    return system_failure("tap " + name);
  }
  if (::ioctl(tap.get(), TUNSETVNETHDRSZ, &kHeaderBytes) != 0) return system_failure("tap " + name);
  if (::ioctl(tap.get(), TUNSETOFFLOAD, 0) != 0) return system_failure("tap " + name);
  name = request.ifr_name;
  return tap;
}

}  // namespace

Result<> check_interface_name(const std::string& name) {
  const auto fits = [](unsigned char c) { return c != '/' && c != ':' && std::isgraph(c) != 0; };
  if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == ".." || !std::ranges::all_of(name, fits))
    return failure(EINVAL, fmt::format("interface \"{}\": 1 to {} characters without blanks and slashes are right",
                                       name, IFNAMSIZ - 1));
  return {};
}

Result<Tap> open_tap(const std::string& name, std::uint16_t queues) {
  if (!name.empty()) TRY(check_interface_name(name));
  Tap tap{.name = name, .queues = {}};
  for (std::uint16_t i = 0; i < queues; ++i) tap.queues.push_back(TRY(open_queue(tap.name, queues > 1)));
  return tap;
}

}  // namespace ipc
