// The disk that bulkhead-monitor has bulkhead-blk serve.
#pragma once

#include "backends/program/monitored.h"

namespace blk {

program::Setup<program::Assignment> accept_disk(ipc::Frame frame, ipc::ControlChannel& control);

}  // namespace blk
