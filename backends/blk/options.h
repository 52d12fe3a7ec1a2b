// How one disk is to be served.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "backends/blk/store.h"
#include "backends/limits/limiter.h"
#include "backends/serve/manner.h"
#include "backends/telemetry/segment.h"

namespace blk {

enum class OnError : std::uint8_t {
  Report,  // the guest gets an I/O error
  Stop,    // the request is tried again until it succeeds, and nothing new is begun meanwhile
};

enum class Lock : std::uint8_t {
  Always,   // the image is locked from the start
  Running,  // only while rings run: a migration's other end can be there already, with its rings at rest
};

// A killed predecessor holds its lock until its last request in flight is done with: waiting for the lock means
// that nothing of it reaches the disk any more.
inline constexpr std::chrono::milliseconds kLockPatience{3000};

struct Options {
  std::string serial = {};    // what GET_ID tells, at most 20 bytes
  std::uint16_t queues = 1;   // 1 to virtio::kMaxQueues
  serve::Manner manner = {};  // queue i belongs to thread i modulo their number
  OnError on_error = OnError::Report;
  Memory memory = Memory::Mapped;
  Lock lock = Lock::Always;                       // Always: whoever hands the storage over has locked it
  limits::Limiter* limiter = nullptr;             // borrowed; none: no limits
  const telemetry::Segment* telemetry = nullptr;  // borrowed, of kOperationNames and `queues`; none: nobody looks
};

}  // namespace blk
