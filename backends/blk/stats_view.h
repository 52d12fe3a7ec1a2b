// Telemetry as people and programs read it.
#pragma once

#include <string>
#include <vector>

#include "backends/telemetry/reader.h"

namespace blk {

// What happened in `seconds` (above 0) that ended now.
struct Interval {
  double seconds;
  telemetry::Sample counted;  // in that time
  telemetry::Sample now;      // since the start
};

// A table: a line for all, and for each queue and operation that has something to tell.
std::string table(const Interval& interval, const std::vector<std::string>& operations);

// The same as one line of JSON, every queue and operation in it.
std::string json(const Interval& interval, const std::vector<std::string>& operations);

}  // namespace blk
