// The one thread that runs every device of the machine.
#pragma once

#include "ipc/event_loop.h"

namespace vcpu_host {

using ipc::EventLoop;

}  // namespace vcpu_host
