#include "monitor/way_out.h"

#include <fcntl.h>

#include "monitor/cable.h"
#include "monitor/message.h"
#include "monitor/passt.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;
using Kind = ipc::schema::NetworkSetup::Kind;

class TapWay final : public WayOut {
 public:
  explicit TapWay(ipc::Tap tap) : tap_(std::move(tap)) {}
  const std::string& name() const { return tap_.name; }
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

Result<std::unique_ptr<WayOut>> WayOut::open(ipc::EventLoop& loop, Spawner& spawner, const Configuration& machine,
                                             std::size_t card) {
  const NetConfiguration& wanted = machine.nets[card];
  const std::string name = fmt::format("net{}", card);
  auto opened = [&]() -> Result<std::unique_ptr<WayOut>> {
    if (const auto* tap = std::get_if<TapConfiguration>(&wanted.way)) {
      auto way = std::make_unique<TapWay>(TRY(spawner.make_tap(card)));
      if (tap->name.empty()) say(machine.name, fmt::format("{} is interface {}", name, way->name()));
      return way;
    }
    if (const auto* pair = std::get_if<PairConfiguration>(&wanted.way))
      return make_cable(loop, spawner, card, pair->path, machine.name, name);
    return make_user_way(loop, spawner, card, machine.name, name);
  }();
  if (!opened) opened.error().context = fmt::format("{}: {}", name, opened.error().context);
  return opened;
}

}  // namespace monitor
