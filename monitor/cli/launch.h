// From the command line to the monitor: one message, one exec.
#pragma once

#include <string>

#include "ipc/error.h"
#include "ipc/schema/machine.capnp.h"

namespace cli {

// Replaces this process by DIRECTORY/bulkhead-monitor with `machine` as descriptor 3, a sealed memfd.
// `directory` empty: where this program itself is. Returns only if that fails.
ipc::Error launch(capnp::MessageBuilder& machine, std::string directory);

}  // namespace cli
