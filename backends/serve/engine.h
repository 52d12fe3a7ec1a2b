// What one thread waits on, and for how long: kicks, sockets, timers, and the I/O of a ring that does both.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backends/virtio/device.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "sandbox/policy/back_end.h"

namespace serve {

enum class Op : std::uint8_t {
  Kick,      // `queue` was kicked; `generation` tells which start of the ring it belongs to
  FrontEnd,  // the vhost-user socket is readable
  Control,   // the monitor's socket, or who else tells us what to do, is readable
  Wake,      // another thread wants to be heard
  Io,        // operation `slot` of the group
  Own,       // file `slot` of the device's own is readable
  Ignored,
};

// What an event is about; travels through the kernel as 64 bits.
struct Token {
  Op op = Op::Ignored;
  std::uint8_t queue = 0;
  std::uint16_t slot = 0;
  std::uint32_t generation = 0;

  std::uint64_t encode() const {
    return std::uint64_t{static_cast<std::uint8_t>(op)} << 56 | std::uint64_t{queue} << 48 | std::uint64_t{slot} << 32 |
           generation;
  }
  static Token decode(std::uint64_t data) {
    return {.op = static_cast<Op>(data >> 56),
            .queue = static_cast<std::uint8_t>(data >> 48),
            .slot = static_cast<std::uint16_t>(data >> 32),
            .generation = static_cast<std::uint32_t>(data)};
  }
};

struct Event {
  Token token;
  int result;  // bytes moved, or poll events, or a negative errno
  bool more;   // the operation goes on and completes again
};

// Places of the files that an engine works on, before those of kicks and of the device's own; it can reach nothing
// else.
enum class FileSlot : std::uint8_t { FrontEnd, Control, Wake, First };
constexpr unsigned index_of(FileSlot slot) {
  return static_cast<unsigned>(slot);
}

enum class EngineChoice : std::uint8_t { Best, IoUring, Plain };  // Best: io_uring if the host has it

// What a device asks of an engine.
struct EngineNeeds {
  std::uint16_t queues;                                // 1 to virtio::kMaxQueues
  std::uint16_t own_files;                             // places for files of its own
  std::span<const sandbox::RingRule> ring_operations;  // what an io_uring is restricted to
  std::uint16_t buffers = 0;                           // places for buffers that an io_uring keeps
};

// How long wait() may take when nothing is there.
struct Wait {
  static constexpr std::uint64_t kForEver = ~std::uint64_t{0};
  std::uint64_t at_most = kForEver;  // nanoseconds
  bool sleeps() const { return at_most != 0; }
};

// Not thread-safe: all calls come from the thread that made it.
class Engine {
 public:
  explicit Engine(const EngineNeeds& needs) : queues_(needs.queues), own_files_(needs.own_files) {}
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  // What the kernel's calls are made on: the io_uring or the epoll instance.
  virtual const ipc::UniqueFd& fd() const = 0;
  virtual bool is_ring() const = 0;

  unsigned kick_slot(std::uint16_t queue) const { return index_of(FileSlot::First) + queue; }
  unsigned own_slot(std::uint16_t file) const { return kick_slot(queues_) + file; }
  unsigned slots() const { return own_slot(own_files_); }

  // Puts a descriptor into a place, or empties the place. It must stay open while it is there.
  virtual ipc::Result<> set_file(unsigned slot, const ipc::UniqueFd& file) = 0;
  virtual void clear_file(unsigned slot) = 0;

  // One event, when the file is readable or has hung up.
  virtual void poll(unsigned slot, Token token) = 0;
  // One event each time that an eventfd is written to, without its being read, or that something comes to be read,
  // until one does not say `more`.
  virtual void watch(unsigned slot, Token token) = 0;
  virtual void unwatch(unsigned slot, Token token) = 0;
  // One event when a file that is watched can be written to: with `token`, or with `token` but for its queue, 0, which
  // is what watch() was told.
  virtual void await_room(unsigned slot, Token token) = 0;

  // What has happened; waits for it if nothing has. Valid until the next call. Makes no system call where
  // nothing is to be told to the kernel, or asked of it, and `wait` does not sleep.
  virtual ipc::Result<std::span<const Event>> wait(Wait wait) = 0;

 private:
  const std::uint16_t queues_;
  const std::uint16_t own_files_;
};

// Errors: those of UringEngine::create() and EpollEngine::create(); IoUring does not fall back.
ipc::Result<std::unique_ptr<Engine>> make_engine(EngineChoice choice, const EngineNeeds& needs);

}  // namespace serve
