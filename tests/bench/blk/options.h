// What blk_load is asked to do.
#pragma once

#include <cstdint>
#include <string>

namespace bench {

enum class Wait : std::uint8_t { Poll, Interrupt };
enum class RingFormat : std::uint8_t { Split, Packed };

struct Options {
  std::string socket_path;
  RingFormat ring = RingFormat::Split;
  bool event_idx = true;
  bool indirect = true;
  Wait wait = Wait::Interrupt;
  std::uint16_t queues = 1;
  std::uint16_t queue_size = 256;
  std::uint16_t depth = 32;    // requests in flight on each queue
  std::uint32_t block = 4096;  // bytes of each request
  bool sequential = false;     // each queue through a stretch of its own
  unsigned write_percent = 0;  // of the requests
  std::uint64_t span = 0;      // bytes of the disk that are used, from its start; 0: all
  double seconds = 0;          // either this long,
  std::uint64_t requests = 0;  // or so many requests
  double warm_up = 0;          // seconds before anything is counted
  int cpu = -1;                // to run on; -1: any
  int back_end = 0;            // process whose CPU time is taken; 0: none
  bool json = false;
};

}  // namespace bench
