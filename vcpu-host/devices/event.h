// Eventfds as the devices use them: to raise an interrupt, to see one that waits.
#pragma once

#include "ipc/unique_fd.h"

namespace vcpu_host {

// Adds one to `event`. Never blocks: an eventfd that a peer has filled up is signalled already.
void signal(const ipc::UniqueFd& event);

// Whether something was added to `event` that nobody has read. Reads nothing.
bool is_signalled(const ipc::UniqueFd& event);

// Takes what waits in `event`, which is non-blocking and shared with the kernel alone.
void drain(const ipc::UniqueFd& event);

}  // namespace vcpu_host
