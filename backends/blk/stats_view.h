// Telemetry as people and programs read it.
#pragma once

#include <string>

#include "backends/program/control_commands.h"

namespace blk {

// A table: a line for all, and for each queue and operation that has something to tell.
std::string table(const program::Interval& interval, const telemetry::Reader& reader);

// The same as one line of JSON, every queue and operation in it.
std::string json(const program::Interval& interval, const telemetry::Reader& reader);

}  // namespace blk
