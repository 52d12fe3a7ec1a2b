// The io_uring that everything here waits on: disk I/O, kicks and sockets are its completions.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <span>

#include "backends/virtio/device.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace blk {

enum class Op : std::uint8_t {
  Kick,      // `queue` was kicked; `generation` tells which start of the ring it belongs to
  FrontEnd,  // the vhost-user socket is readable
  Control,   // the monitor's socket is readable
  DiskIo,    // request `slot` of the device
  Ignored,
};

// What a completion is about; packed into user_data.
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
    return {static_cast<Op>(data >> 56), static_cast<std::uint8_t>(data >> 48), static_cast<std::uint16_t>(data >> 32),
            static_cast<std::uint32_t>(data)};
  }
};

struct Completion {
  int result;  // as of the system call: bytes or poll events, or a negative errno
  bool more;   // the operation goes on and completes again
};

// Places in the ring's table of fixed files; it works on nothing else.
enum class FileSlot : std::uint8_t { Image, FrontEnd, Control, FirstKick };
constexpr unsigned index_of(FileSlot slot) {
  return static_cast<unsigned>(slot);
}
constexpr unsigned kick_slot(std::uint16_t queue) {
  return index_of(FileSlot::FirstKick) + queue;
}

// Disk operations in flight at once, at most: together with polls they fit into the completion queue.
inline constexpr std::size_t kMaxInFlight = 3072;
inline constexpr unsigned kCompletionEntries = 4096;

inline constexpr unsigned kFileSlots = index_of(FileSlot::FirstKick) + virtio::kMaxQueues;

// Not thread-safe: all calls come from the thread that made it. Operations are queued, and go to the
// kernel by the next wait().
class Engine {
 public:
  // A ring that is restricted to sandbox::kBlkRingOpcodes on fixed files, for good. Errors: those of
  // io_uring_setup(2) and io_uring_register(2), ENOSYS and EPERM where the host has io_uring off.
  static ipc::Result<std::unique_ptr<Engine>> create();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  const ipc::UniqueFd& fd() const { return fd_; }

  // Puts a descriptor (borrowed; the ring keeps its own reference) into a place, or empties the place.
  ipc::Result<> set_file(unsigned slot, const ipc::UniqueFd& file);
  void clear_file(unsigned slot);

  // Completes once, when the file is readable or has hung up.
  void poll(unsigned slot, Token token);
  // Completes each time that the eventfd is written to, without its being read, until it does not say `more`.
  void watch(unsigned slot, Token token);
  void unwatch(Token token);

  // Into or from guest memory, which must stay mapped until the completion; `parts` may go after wait().
  void read(std::span<const iovec> parts, std::uint64_t offset, Token token);
  void write(std::span<const iovec> parts, std::uint64_t offset, bool durable, Token token);
  void flush(Token token);  // fdatasync
  // fallocate(2) by `mode`, FALLOC_FL_*.
  void fallocate(int mode, std::uint64_t offset, std::uint64_t length, Token token);

  // Submits what is queued, waits for a completion if `block`, and calls `dispatch(Token, Completion)`
  // for each that is there.
  template <class Dispatch>
  ipc::Result<> wait(bool block, Dispatch&& dispatch) {
    TRY(enter(block));
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring_, head, completion) {
      dispatch(Token::decode(completion->user_data),
               Completion{completion->res, (completion->flags & IORING_CQE_F_MORE) != 0});
      ++seen;
    }
    io_uring_cq_advance(&ring_, seen);
    return {};
  }

 private:
  Engine() = default;
  ipc::Result<> restrict_and_enable();
  ipc::Result<> enter(bool block);
  io_uring_sqe* next();
  void queue(io_uring_sqe* entry, Token token);

  io_uring ring_{};
  ipc::UniqueFd fd_;  // ring_'s own descriptor
};

}  // namespace blk
