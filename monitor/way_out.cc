#include "monitor/way_out.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ipc/tap.h"
#include "monitor/cable.h"
#include "monitor/message.h"
#include "monitor/passt.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;
using Kind = ipc::schema::NetworkSetup::Kind;

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

class TapWay final : public WayOut {
 public:
  explicit TapWay(ipc::Tap tap) : tap_(std::move(tap)) {}

  static Result<std::unique_ptr<WayOut>> open(const TapConfiguration& wanted, const NetConfiguration& card,
                                              const std::string& machine, const std::string& name) {
    ipc::Tap tap = TRY(ipc::open_tap(wanted.name, card.queue_pairs));
    const auto control = TRY(InterfaceControl::open());
    TRY(control.set_mtu(tap.name, card.mtu));
    if (!wanted.bridge.empty()) TRY(control.join(tap.name, wanted.bridge));
    TRY(control.bring_up(tap.name));
    if (wanted.name.empty()) say(machine, fmt::format("{} is interface {}", name, tap.name));
    return std::make_unique<TapWay>(std::move(tap));
  }

  Kind kind() const override { return Kind::TAP; }
  std::string describe() const override { return "tap " + tap_.name; }
  Result<std::vector<UniqueFd>> attach(Link) override {
    std::vector<UniqueFd> queues;
    for (const UniqueFd& queue : tap_.queues) {
      queues.emplace_back(::fcntl(queue.get(), F_DUPFD_CLOEXEC, 0));
      if (!queues.back()) return ipc::system_failure("duplicate a tap's descriptor");
    }
    return queues;
  }
  void detach() override {}

 private:
  const ipc::Tap tap_;  // the interface is there as long as this is
};

}  // namespace

Result<std::unique_ptr<WayOut>> WayOut::open(ipc::EventLoop& loop, const NetConfiguration& card,
                                             const std::string& machine, const std::string& name) {
  auto opened = [&]() -> Result<std::unique_ptr<WayOut>> {
    if (const auto* tap = std::get_if<TapConfiguration>(&card.way)) return TapWay::open(*tap, card, machine, name);
    if (const auto* user = std::get_if<UserConfiguration>(&card.way))
      return make_user_way(loop, *user, card.mtu, machine, name);
    return make_cable(loop, std::get<PairConfiguration>(card.way).path, machine, name);
  }();
  if (!opened) opened.error().context = fmt::format("{}: {}", name, opened.error().context);
  return opened;
}

}  // namespace monitor
