// A cable between two machines: a Unix socket at which the first waits for the second.
#pragma once

#include "monitor/way_out.h"

namespace monitor {

// The machines may come and go in any order; who is left waits for another. Errors: another program's file at `path`,
// those of bind(2).
ipc::Result<std::unique_ptr<WayOut>> make_cable(ipc::EventLoop& loop, Spawner& spawner, std::size_t card,
                                                const std::string& path, const std::string& machine,
                                                const std::string& name);

}  // namespace monitor
