// How a queue's thread tells what it does: a few plain instructions for each event, in memory that others read.
#pragma once

#include <atomic>

#include "backends/telemetry/layout.h"

namespace telemetry {

// Belongs to one queue, and to the one thread that serves it at a time. Cheap to copy; valid while its Segment
// lives.
class QueueRecorder {
 public:
  explicit QueueRecorder(QueueBlock& block) : block_(&block) {}

  void kicked() { add(block_->kicks, 1); }
  void interrupted() { add(block_->interrupts, 1); }

  // A request was taken; `depth` are in flight now, this one included.
  void submitted(std::uint64_t depth) {
    add(block_->submitted, 1);
    add(block_->depth_sum, depth);
  }

  // A request ended, `latency_ns` after it was taken. `operation` is an index of the names that the segment was
  // made with; `bytes` is what it moved, and counts if it went well.
  void finished(std::size_t operation, std::uint64_t bytes, std::uint64_t latency_ns, bool ok) {
    OperationBlock& done = block_->operations[operation];
    add(done.latency[bucket_of(latency_ns)], 1);
    if (ok)
      add(done.bytes, bytes);
    else
      add(done.failed, 1);
  }

  // `counter` is an index of the names that the segment was made with.
  void count(std::size_t counter, std::uint64_t amount = 1) { add(block_->counters[counter], amount); }

  // The limits held the queue back for `ns`.
  void throttled(std::uint64_t ns) {
    add(block_->throttled, 1);
    add(block_->throttled_ns, ns);
  }

 private:
  // One writer: no read-modify-write instruction is needed, only that each access is whole.
  static void add(std::uint64_t& counter, std::uint64_t amount) {
    const std::atomic_ref<std::uint64_t> shared(counter);
    shared.store(shared.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  QueueBlock* block_;
};

}  // namespace telemetry
