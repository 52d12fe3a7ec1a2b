// What a back end publishes about its work, as it lies in shared memory. Version 1; all fields little-endian.
//
//     0     Header
//     4096  QueueBlock of queue 0, of queue 1, ...
//
// Counters only grow, modulo 2^64. Each is written by one thread and read by anybody at any time, without a lock:
// counters that belong together may be a request apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/telemetry/histogram.h"

namespace telemetry {

inline constexpr std::uint64_t kMagic = 0x314d4c5444484b42;  // "BKHDTLM1"
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kMaxQueues = 64;
inline constexpr std::size_t kMaxOperations = 6;
inline constexpr std::size_t kMaxCounters = 22;
inline constexpr std::size_t kNameBytes = 16;
inline constexpr std::size_t kHeaderBytes = 4096;

using Name = std::array<char, kNameBytes>;  // printable ASCII, filled up with NUL

struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint16_t queues;      // 1 to kMaxQueues
  std::uint16_t operations;  // to kMaxOperations; names[] and QueueBlock::operations[] beyond are 0
  std::array<Name, kMaxOperations> names;
  std::uint64_t counters;  // to kMaxCounters; likewise. At least one operation or counter has a name
  std::array<Name, kMaxCounters> counter_names;
};
static_assert(sizeof(Header) == 472 && sizeof(Header) <= kHeaderBytes);

struct OperationBlock {
  std::uint64_t bytes;   // moved by those that went well
  std::uint64_t failed;  // of those that `latency` counts
  Counts latency;        // of each that has finished, from when its chain was taken
};

struct alignas(64) QueueBlock {
  std::uint64_t kicks;         // times that the driver's kick woke us
  std::uint64_t interrupts;    // times that we interrupted the driver
  std::uint64_t submitted;     // requests taken
  std::uint64_t depth_sum;     // of the depth (requests in flight, itself included) at each of these
  std::uint64_t throttled;     // times that the limits held the queue back
  std::uint64_t throttled_ns;  // for how long, all together
  std::array<std::uint64_t, kMaxCounters> counters;  // what the kind of device counts beside requests
  std::array<OperationBlock, kMaxOperations> operations;
};
static_assert(sizeof(QueueBlock) == 21'824);

constexpr std::size_t segment_bytes(std::size_t queues) {
  return kHeaderBytes + queues * sizeof(QueueBlock);
}

}  // namespace telemetry
