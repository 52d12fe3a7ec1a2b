// The card that a standalone bulkhead-net serves.
#pragma once

#include "backends/net/command_line.h"
#include "backends/program/control_commands.h"
#include "backends/program/product.h"

namespace net {

// Opens the way out. Errors name it.
ipc::Result<std::unique_ptr<program::Product>> open_card(const CommandLine& command);

// How bulkhead-net shows itself to operators, and what they may ask of it.
program::Commands card_commands();

}  // namespace net
