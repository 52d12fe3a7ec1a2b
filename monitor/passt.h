// The host's network as its user has it, by passt(1): a process that needs no right and takes none, which gives the
// guest addresses, names and ports by DHCP, NDP and the user's own sockets.
#pragma once

#include "monitor/way_out.h"

namespace monitor {

// ENOENT where there is no passt. A passt that ends is started again.
ipc::Result<std::unique_ptr<WayOut>> make_user_way(ipc::EventLoop& loop, const UserConfiguration& user,
                                                   std::uint16_t mtu, const std::string& machine,
                                                   const std::string& name);

}  // namespace monitor
