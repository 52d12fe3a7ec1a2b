#include "spawner/tap.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace spawner {
namespace {

using ipc::Result;
using ipc::UniqueFd;

// Interfaces are set up by ioctls on any socket.
class InterfaceControl {
 public:
  static Result<InterfaceControl> open() {
    UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return ipc::system_failure("make a socket");
    return InterfaceControl(std::move(socket));
  }

  Result<> set_mtu(const std::string& name, int mtu) const {
    ifreq request = request_for(name);
    request.ifr_mtu = mtu;
    return ask(SIOCSIFMTU, request, fmt::format("tap {}: set its MTU to {}", name, mtu));
  }
  Result<> join(const std::string& name, const std::string& bridge) const {
    ifreq request = request_for(bridge);
    request.ifr_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
    return ask(SIOCBRADDIF, request, fmt::format("bridge {}: add tap {}", bridge, name));
  }
  Result<> bring_up(const std::string& name) const {
    ifreq request = request_for(name);
    TRY(ask(SIOCGIFFLAGS, request, "tap " + name));
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    return ask(SIOCSIFFLAGS, request, fmt::format("tap {}: bring it up", name));
  }

 private:
  explicit InterfaceControl(UniqueFd socket) : socket_(std::move(socket)) {}
  static ifreq request_for(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    return request;
  }
  Result<> ask(unsigned long what, ifreq& request, const std::string& context) const {
    return ::ioctl(socket_.get(), what, &request) == 0 ? Result<>() : ipc::system_failure(context);
  }
  UniqueFd socket_;
};

}  // namespace

Result<ipc::Tap> make_tap(ipc::schema::SpawnerSetup::Card::Reader card) {
  const auto wanted = card.getTap();
  ipc::Tap tap = TRY(ipc::open_tap(wanted.getName().cStr(), wanted.getQueuePairs()));
  const auto control = TRY(InterfaceControl::open());
  TRY(control.set_mtu(tap.name, card.getMtu()));
  if (wanted.getBridge().size() > 0) TRY(control.join(tap.name, wanted.getBridge().cStr()));
  TRY(control.bring_up(tap.name));
  return tap;
}

}  // namespace spawner
