// What one thread waits on, and for how long: kicks, sockets, timers, and the disk I/O of a ring that does both.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backends/virtio/device.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace blk {

enum class Op : std::uint8_t {
  Kick,      // `queue` was kicked; `generation` tells which start of the ring it belongs to
  FrontEnd,  // the vhost-user socket is readable
  Control,   // the monitor's socket, or who else tells us what to do, is readable
  Wake,      // another thread wants to be heard
  DiskIo,    // request `slot` of the group
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

// Places of the files that an engine works on; it can reach nothing else.
enum class FileSlot : std::uint8_t { Image, Unaligned, FrontEnd, Control, Wake, FirstKick };
constexpr unsigned index_of(FileSlot slot) {
  return static_cast<unsigned>(slot);
}
constexpr unsigned kick_slot(std::uint16_t queue) {
  return index_of(FileSlot::FirstKick) + queue;
}
inline constexpr unsigned kFileSlots = index_of(FileSlot::FirstKick) + virtio::kMaxQueues;

// How long wait() may take when nothing is there.
struct Wait {
  static constexpr std::uint64_t kForEver = ~std::uint64_t{0};
  std::uint64_t at_most = kForEver;  // nanoseconds
  bool sleeps() const { return at_most != 0; }
};

// Not thread-safe: all calls come from the thread that made it.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  // What the kernel's calls are made on: the io_uring or the epoll instance.
  virtual const ipc::UniqueFd& fd() const = 0;
  virtual bool is_ring() const = 0;

  // Puts a descriptor into a place, or empties the place. It must stay open while it is there.
  virtual ipc::Result<> set_file(unsigned slot, const ipc::UniqueFd& file) = 0;
  virtual void clear_file(unsigned slot) = 0;

  // One event, when the file is readable or has hung up.
  virtual void poll(unsigned slot, Token token) = 0;
  // One event each time that the eventfd is written to, without its being read, until one does not say `more`.
  virtual void watch(unsigned slot, Token token) = 0;
  virtual void unwatch(unsigned slot, Token token) = 0;

  // What has happened; waits for it if nothing has. Valid until the next call. Makes no system call where
  // nothing is to be told to the kernel, or asked of it, and `wait` does not sleep.
  virtual ipc::Result<std::span<const Event>> wait(Wait wait) = 0;
};

}  // namespace blk
