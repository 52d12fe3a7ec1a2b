// A way out that is a connection, which may be lost and come again.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "ipc/timer.h"
#include "monitor/message.h"
#include "monitor/way_out.h"

namespace monitor {

class ConnectedWay : public WayOut {
 public:
  ipc::Result<std::vector<ipc::UniqueFd>> attach(Link link) final {
    link_ = std::move(link);
    said_.clear();
    std::vector<ipc::UniqueFd> ends;
    if (auto end = TRY(connect())) ends.push_back(std::move(*end));
    return ends;
  }
  void detach() final {
    link_ = nullptr;
    retry_.cancel();
    disconnect();
  }

 protected:
  ConnectedWay(ipc::EventLoop& loop, std::string machine, std::string name)
      : loop_(loop), machine_(std::move(machine)), name_(std::move(name)), retry_(loop) {}

  // Nothing: there is none yet, and give() follows. An error: again() tries once more.
  virtual ipc::Result<std::optional<ipc::UniqueFd>> connect() = 0;
  virtual void disconnect() {}

  void give(ipc::UniqueFd end) {
    said_.clear();
    if (link_) link_(std::move(end));
  }
  // After `wait`, and each second until there is a connection or who listens for one. What is in the way is said once.
  void again(const std::string& why = {}, std::chrono::milliseconds wait = std::chrono::seconds(1)) {
    if (!why.empty() && std::exchange(said_, why) != why) tell(why);
    const auto armed = retry_.after(wait, [this] {
      auto end = connect();
      if (!end) return again(ipc::describe(end.error()));
      if (*end) give(std::move(**end));
    });
    if (!armed) tell(ipc::describe(armed.error()));
  }
  void tell(const std::string& text) const { say(machine_, fmt::format("{}: {}", name_, text)); }

  ipc::EventLoop& loop_;

 private:
  const std::string machine_, name_;
  std::string said_;
  Link link_;
  ipc::Timer retry_;
};

}  // namespace monitor
