// A way to a back end, as the monitor gives it (ipc/schema/control.capnp): a sealed process makes no sockets.
#pragma once

#include "ipc/unique_fd.h"

namespace vcpu_host {

struct BackEndConnection {
  ipc::UniqueFd socket;     // vhost-user, connected
  ipc::UniqueFd requests;   // a pair for VHOST_USER_SET_BACKEND_REQ_FD: our end
  ipc::UniqueFd requester;  // and the back end's
};

}  // namespace vcpu_host
