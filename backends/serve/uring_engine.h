// An engine that is one io_uring: I/O, kicks and sockets are completions of it.
#pragma once

#include <liburing.h>

#include <array>

#include "backends/serve/engine.h"

namespace serve {

// Operations in flight at once, at most: together with polls they fit into the completion queue.
inline constexpr std::size_t kMaxInFlight = 3072;
inline constexpr unsigned kCompletionEntries = 4096;

class UringEngine final : public Engine {
 public:
  // A ring that is restricted to what the device needs, on fixed files, for good. Errors: those of
  // io_uring_setup(2) and io_uring_register(2), ENOSYS and EPERM where the host has io_uring off.
  // Its places are no more than the descriptors that this process may open (RLIMIT_NOFILE).
  static ipc::Result<std::unique_ptr<UringEngine>> create(const EngineNeeds& needs);
  ~UringEngine() override;

  const ipc::UniqueFd& fd() const override { return fd_; }
  bool is_ring() const override { return true; }
  ipc::Result<> set_file(unsigned slot, const ipc::UniqueFd& file) override;
  void clear_file(unsigned slot) override;
  void poll(unsigned slot, Token token) override;
  void watch(unsigned slot, Token token) override;
  void unwatch(unsigned slot, Token token) override;
  void await_room(unsigned slot, Token token) override;
  ipc::Result<std::span<const Event>> wait(Wait wait) override;

  // Keeps `memory`, of at most 1 GiB, in one of EngineNeeds::buffers' places, so that operations on it need not look
  // its pages up: they are pinned until clear_buffer(), and until the last operation on them has ended. ENOMEM beyond
  // RLIMIT_MEMLOCK.
  ipc::Result<> set_buffer(unsigned place, iovec memory);
  void clear_buffer(unsigned place);

  // A new operation, to be prepared on the file in a place, and queue()d before any other call. It goes to
  // the kernel by the next wait(); what it points to must stay until its event.
  io_uring_sqe* next();
  void queue(io_uring_sqe* entry, Token token) {
    io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(entry, token.encode());
  }

 private:
  using Engine::Engine;
  ipc::Result<> restrict_and_enable(const EngineNeeds& needs);
  bool kernel_has_news() const;
  int enter(Wait wait);

  io_uring ring_{};
  ipc::UniqueFd fd_;  // ring_'s own descriptor
  std::array<Event, 512> events_;
};

}  // namespace serve
