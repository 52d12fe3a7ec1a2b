// An engine for hosts where io_uring is off: it waits by epoll, and leaves I/O to plain calls.
#pragma once

#include <sys/epoll.h>

#include <vector>

#include "backends/serve/engine.h"

namespace serve {

class EpollEngine final : public Engine {
 public:
  static ipc::Result<std::unique_ptr<EpollEngine>> create(const EngineNeeds& needs);

  const ipc::UniqueFd& fd() const override { return epoll_; }
  bool is_ring() const override { return false; }
  ipc::Result<> set_file(unsigned slot, const ipc::UniqueFd& file) override;
  void clear_file(unsigned slot) override;
  void poll(unsigned slot, Token token) override;
  void watch(unsigned slot, Token token) override;
  void unwatch(unsigned slot, Token token) override;
  void await_room(unsigned slot, Token token) override;
  ipc::Result<std::span<const Event>> wait(Wait wait) override;

 private:
  EpollEngine(const EngineNeeds& needs, ipc::UniqueFd epoll)
      : Engine(needs), epoll_(std::move(epoll)), files_(slots(), -1), ready_(slots()) {}
  void add(unsigned slot, std::uint32_t events, Token token);

  ipc::UniqueFd epoll_;
  std::vector<int> files_;  // borrowed
  std::vector<epoll_event> ready_;
  std::vector<Event> events_;
  std::vector<Event> failed_;  // what cannot be waited for: told by the next wait()
};

}  // namespace serve
