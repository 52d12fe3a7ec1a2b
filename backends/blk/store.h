// What carries out reads and writes of a disk's bytes, for one thread. A remote store or an image format joins
// here: it moves bytes between guest memory and wherever it keeps them, and knows nothing of virtio.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "backends/blk/storage.h"
#include "backends/serve/engine.h"

namespace blk {

// All operations: the result at once (bytes moved, 0 for others, or a negative errno), or nothing, and then
// the engine tells it by an event with `token`. Buffers and `parts` must stay in place until then. Reads and
// writes may move less than was asked, and 0 bytes beyond the end of what there is. The caller has checked that
// the range lies in the disk.
class Store {
 public:
  using Outcome = std::optional<int>;

  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  // Operations are system calls of this thread, and take their time.
  virtual bool makes_calls() const { return false; }

  // Guest memory is mapped in these places, and nowhere else: where operations' buffers come from. A store may keep
  // it at hand. An error: it cannot, and does without.
  virtual ipc::Result<> use_memory(std::span<const iovec> /*places*/) { return {}; }
  virtual bool pins_memory() const { return false; }  // or tries to

  virtual Outcome read(std::span<const iovec> parts, std::uint64_t offset, serve::Token token) = 0;
  // `durable`: it outlives a loss of power when it completes.
  virtual Outcome write(std::span<const iovec> parts, std::uint64_t offset, bool durable, serve::Token token) = 0;
  // What was written before outlives a loss of power.
  virtual Outcome flush(serve::Token token) = 0;
  // The range reads as zeroes from now on, and takes no space any more. EOPNOTSUPP where it cannot.
  virtual Outcome punch(std::uint64_t offset, std::uint64_t length, serve::Token token) = 0;
  // The range reads as zeroes and keeps its space. EOPNOTSUPP where it cannot without being written.
  virtual Outcome zero(std::uint64_t offset, std::uint64_t length, serve::Token token) = 0;
};

// The engine has places for so many files of the store's.
inline constexpr std::uint16_t kStoreFiles = 2;

// Places for guest memory that a store of EngineNeeds::buffers keeps: as many GiB, at least.
inline constexpr std::uint16_t kStoreBuffers = 1024;

enum class Memory : std::uint8_t {
  Mapped,  // its pages are looked up for each request
  Pinned,  // the engine, an io_uring that has kStoreBuffers, keeps it
};

// The store for `storage`, which must outlive it, on `engine`, likewise. An error: the engine has no room.
ipc::Result<std::unique_ptr<Store>> make_store(const Storage& storage, serve::Engine& engine, Memory memory);

}  // namespace blk
