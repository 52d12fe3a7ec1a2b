// What the requests of one queue are: where, and which of them write.
#pragma once

#include <cstdint>

#include "tests/bench/blk/options.h"

namespace bench {

class Pattern {
 public:
  Pattern(const Options& options, std::uint64_t disk_bytes, std::uint16_t queue)
      : blocks_((options.span == 0 ? disk_bytes : options.span) / options.block),
        sectors_per_block_(options.block / 512),
        sequential_(options.sequential),
        write_percent_(options.write_percent),
        next_(blocks_ / options.queues * queue),
        state_(queue) {}

  std::uint64_t next_sector() {
    if (!sequential_) return scale(random(), blocks_) * sectors_per_block_;
    const std::uint64_t block = next_;
    next_ = next_ + 1 == blocks_ ? 0 : next_ + 1;
    return block * sectors_per_block_;
  }
  bool next_writes() {
    if (write_percent_ == 0 || write_percent_ == 100) return write_percent_ == 100;
    return scale(random(), 100) < write_percent_;
  }

 private:
  static std::uint64_t scale(std::uint64_t number, std::uint64_t below) {
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(number) * below >> 64);
  }
  std::uint64_t random() {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  std::uint64_t blocks_;
  std::uint64_t sectors_per_block_;
  bool sequential_;
  unsigned write_percent_;
  std::uint64_t next_;
  std::uint64_t state_;
};

}  // namespace bench
