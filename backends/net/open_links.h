// Opens a standalone card's way out, with our caller's rights.
#pragma once

#include <memory>
#include <vector>

#include "backends/net/command_line.h"
#include "backends/net/device.h"

namespace net {

// Errors are one line that names the option.
ipc::Result<std::vector<std::unique_ptr<Link>>> open_links(const CommandLine& command);

Abilities abilities_of(Way way);

// For people: "tap tap0", "nowhere".
std::string describe(const CommandLine& command);

}  // namespace net
