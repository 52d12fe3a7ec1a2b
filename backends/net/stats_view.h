// Telemetry as people and programs read it.
#pragma once

#include <string>

#include "backends/program/control_commands.h"

namespace net {

// A table: a line for each direction, and for each queue where there are several; then each reason for which frames
// were dropped.
std::string table(const program::Interval& interval, const telemetry::Reader& reader);

// The same as one line of JSON, every queue and counter in it.
std::string json(const program::Interval& interval, const telemetry::Reader& reader);

}  // namespace net
