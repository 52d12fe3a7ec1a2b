#include "backends/serve/engine.h"

#include "backends/serve/epoll_engine.h"
#include "backends/serve/uring_engine.h"

namespace serve {

ipc::Result<std::unique_ptr<Engine>> make_engine(EngineChoice choice, const EngineNeeds& needs) {
  if (choice == EngineChoice::Plain) return EpollEngine::create(needs);
  auto ring = UringEngine::create(needs);
  if (ring) return std::move(*ring);
  const int code = ring.error().code;
  const bool off = code == ENOSYS || code == EPERM || code == EACCES || code == EINVAL;
  if (choice == EngineChoice::IoUring || !off) return std::unexpected(std::move(ring).error());
  return EpollEngine::create(needs);
}

}  // namespace serve
