// A machine from a file: the schema of ipc/schema/machine.capnp in Cap'n Proto's JSON.
#pragma once

#include <string>
#include <string_view>

#include "ipc/error.h"
#include "ipc/schema/machine.capnp.h"

namespace cli {

// Errors are one line: "machine.json: disks[0].pth: unknown key; path, queues, readonly, serial are right".
ipc::Result<> read_machine(const std::string& path, ipc::schema::Machine::Builder machine);

// The same of a text that came from `path`.
ipc::Result<> parse_machine(const std::string& path, std::string_view text, ipc::schema::Machine::Builder machine);

}  // namespace cli
