// The host's network as its user has it, by passt(1): a process that needs no right and takes none, which gives the
// guest addresses, names and ports by DHCP, NDP and the user's own sockets.
#pragma once

#include "monitor/way_out.h"

namespace monitor {

// Its path and what it is told. Where it listens the spawner says.
std::vector<std::string> passt_arguments(const UserConfiguration& user, std::uint16_t mtu);

// ENOENT where there is no passt. One that ends is started again. `loop` and `spawner` are borrowed.
ipc::Result<std::unique_ptr<WayOut>> make_user_way(ipc::EventLoop& loop, Spawner& spawner, std::size_t card,
                                                   const std::string& machine, const std::string& name);

}  // namespace monitor
