// The card that bulkhead-monitor has bulkhead-net serve.
#pragma once

#include "backends/program/monitored.h"

namespace net {

program::Setup<program::Assignment> accept_card(ipc::Frame frame, ipc::ControlChannel& control);

}  // namespace net
