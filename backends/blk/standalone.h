// bulkhead-blk by itself: QEMU's conventions for vhost-user back ends (docs/interop/vhost-user.rst).
#pragma once

#include "backends/blk/command_line.h"

namespace blk {

// Serves one front end after the other until a signal asks to end. The exit status, as --help tells it.
int serve_standalone(const CommandLine& command);

}  // namespace blk
