// The other side of a Segment: who looks at the counters of a process that he does not trust.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <string>
#include <vector>

#include "backends/telemetry/layout.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace telemetry {

// All queues' counters at one time.
using Sample = std::vector<QueueBlock>;

// What was counted from `before` until `after`, of the same reader. A lying writer makes the numbers wrong, no more.
Sample difference(const Sample& after, const Sample& before);
QueueBlock sum(const Sample& queues);

class Reader {
 public:
  // EBADF, EINVAL: it is no memfd sealed against shrinking. EBADMSG: what is in it makes no sense.
  static ipc::Result<Reader> attach(const ipc::UniqueFd& segment);

  const std::vector<std::string>& operations() const { return operations_; }  // printable
  const std::vector<std::string>& counters() const { return counters_; }      // likewise
  Sample read() const;

 private:
  Reader(boost::interprocess::mapped_region region, std::size_t queues, std::vector<std::string> operations,
         std::vector<std::string> counters)
      : region_(std::move(region)),
        queues_(queues),
        operations_(std::move(operations)),
        counters_(std::move(counters)) {}
  boost::interprocess::mapped_region region_;
  std::size_t queues_;
  std::vector<std::string> operations_;
  std::vector<std::string> counters_;
};

}  // namespace telemetry
