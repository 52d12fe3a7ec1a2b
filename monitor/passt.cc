#include "monitor/passt.h"

#include <unistd.h>

#include "monitor/connected_way.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr const char* kProgram = "/usr/bin/passt";
constexpr std::chrono::milliseconds kToListen{20};  // of some tens that it takes to start

class UserWay final : public ConnectedWay {
 public:
  UserWay(ipc::EventLoop& loop, Spawner& spawner, std::size_t card, const std::string& machine, const std::string& name)
      : ConnectedWay(loop, machine, name), spawner_(spawner), card_(card) {}

  ipc::schema::NetworkSetup::Kind kind() const override { return ipc::schema::NetworkSetup::Kind::STREAM; }
  std::string describe() const override { return "the host's network, by passt"; }
  void lost() override { again({}, kToListen); }  // where it has ended, connect() says so

 private:
  Result<std::optional<UniqueFd>> connect() override {
    if (!process_) process_.emplace(TRY(spawner_.run_passt(card_)));
    auto end = spawner_.plug(card_);
    if (end) return std::optional(std::move(end->socket));
    if (end.error().code != EAGAIN) process_.reset();
    process_ ? again({}, kToListen) : again(printable(end.error().context) + ", and is started again");
    return std::optional<UniqueFd>();
  }

  Spawner& spawner_;
  const std::size_t card_;
  std::optional<Spawner::Process> process_;  // outlasts our back ends, and so do its connections to others
};

}  // namespace

std::vector<std::string> passt_arguments(const UserConfiguration& user, std::uint16_t mtu) {
  std::vector<std::string> arguments{kProgram, "--foreground", "--quiet", "--mtu", std::to_string(mtu)};
  for (const auto& forward : user.forwards) {
    arguments.emplace_back(forward.udp ? "--udp-ports" : "--tcp-ports");
    arguments.push_back(fmt::format("{}:{}", forward.host, forward.guest));
  }
  return arguments;
}

Result<std::unique_ptr<WayOut>> make_user_way(ipc::EventLoop& loop, Spawner& spawner, std::size_t card,
                                              const std::string& machine, const std::string& name) {
  if (::access(kProgram, X_OK) != 0)
    return ipc::system_failure(fmt::format("{} (of Debian's package passt)", kProgram));
  return std::make_unique<UserWay>(loop, spawner, card, machine, name);
}

}  // namespace monitor
