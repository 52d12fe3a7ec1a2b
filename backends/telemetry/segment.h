// The shared memory that a back end publishes its counters in.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <span>
#include <string_view>

#include "backends/telemetry/recorder.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace telemetry {

class Segment {
 public:
  // For the setup of a process. `operations` and `counters`: at most kMaxOperations and kMaxCounters names of 1 to
  // kNameBytes characters, one at least: the segment's meaning of QueueRecorder::finished() and count(). `queues`: 1
  // to kMaxQueues. EINVAL otherwise; errors of memfd_create(2), ftruncate(2), mmap(2).
  static ipc::Result<Segment> create(std::span<const std::string_view> operations, std::uint16_t queues,
                                     std::span<const std::string_view> counters = {});

  // The segment as a memfd that can be handed to anybody: it is sealed against growing, shrinking, more seals,
  // and against writing by anything but the mapping that this object has.
  const ipc::UniqueFd& file() const { return file_; }

  // `index` is below `queues`.
  QueueRecorder queue(std::uint16_t index) const;

 private:
  Segment(ipc::UniqueFd file, boost::interprocess::mapped_region region)
      : file_(std::move(file)), region_(std::move(region)) {}
  ipc::UniqueFd file_;
  boost::interprocess::mapped_region region_;
};

}  // namespace telemetry
