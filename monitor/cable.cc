#include "monitor/cable.h"

#include <sys/socket.h>

#include "ipc/unix_socket.h"
#include "monitor/connected_way.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;

class Cable final : public ConnectedWay {
 public:
  Cable(ipc::EventLoop& loop, Spawner& spawner, std::size_t card, std::string path, const std::string& machine,
        const std::string& name)
      : ConnectedWay(loop, machine, name), spawner_(spawner), card_(card), path_(std::move(path)) {}
  ~Cable() override { stop_listening(); }

  ipc::schema::NetworkSetup::Kind kind() const override { return ipc::schema::NetworkSetup::Kind::CABLE; }
  std::string describe() const override { return "a cable to another machine"; }
  void lost() override {
    tell(fmt::format("the machine at the other end of {} has gone", path_));
    again();
  }

 private:
  // Connects to who waits, or waits for who connects: then there is nothing yet.
  Result<std::optional<UniqueFd>> connect() override {
    if (listener_) return std::optional<UniqueFd>();
    auto end = TRY(spawner_.plug(card_));
    if (!end.listens) return std::optional(std::move(end.socket));
    listener_ = std::move(end.socket);
    TRY(loop_.watch(listener_, [this] { admit(); }));
    return std::optional<UniqueFd>();
  }
  void disconnect() override { stop_listening(); }

  // One at a time: with the second machine there, a third finds nobody.
  void admit() {
    UniqueFd end(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!end) return;
    stop_listening();
    give(std::move(end));
  }

  void stop_listening() {
    if (!listener_) return;
    loop_.unwatch(listener_);
    listener_ = UniqueFd();
    spawner_.unplug(card_);
  }

  Spawner& spawner_;
  const std::size_t card_;
  const std::string path_;
  UniqueFd listener_;  // while we wait
};

}  // namespace

Result<std::unique_ptr<WayOut>> make_cable(ipc::EventLoop& loop, Spawner& spawner, std::size_t card,
                                           const std::string& path, const std::string& machine,
                                           const std::string& name) {
  TRY(ipc::unix_address(path));  // one that can never be is refused before the machine starts
  return std::make_unique<Cable>(loop, spawner, card, path, machine, name);
}

}  // namespace monitor
