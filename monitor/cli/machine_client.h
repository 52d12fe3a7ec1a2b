// The operator's side of a running machine's control socket (ipc/schema/machine_control.capnp).
#pragma once

#include <functional>
#include <string>

#include "ipc/control_channel.h"
#include "ipc/schema/machine_control.capnp.h"

namespace cli {

// The control folder of the machine that `vm` names: /run/bulkhead/NAME, or $XDG_RUNTIME_DIR/bulkhead/NAME for who is
// not root; a text with a slash in it is the folder itself. An error: there is no such place.
ipc::Result<std::string> control_folder(const std::string& vm);

// Asks the machine's monitor, and has `read` read its answer. An error is one line that names the machine.
using Fill = std::function<void(ipc::schema::MachineRequest::Builder request)>;
using Read = std::function<ipc::Result<>(ipc::schema::MachineAnswer::Reader answer)>;
ipc::Result<> ask_machine(const std::string& vm, const Fill& fill, const Read& read, const ipc::UniqueFd& file = {});

// `bulkhead device restart VM DEVICE [--binary FILE]`.
ipc::Result<> restart_device(const std::string& vm, const std::string& device, const std::string& binary);

}  // namespace cli
