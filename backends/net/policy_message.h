// A policy as it crosses a process boundary.
#pragma once

#include "backends/net/policy.h"
#include "ipc/error.h"
#include "ipc/schema/backend_control.capnp.h"

namespace net {

void write_policy(const Policy& policy, ipc::schema::Policy::Builder message);
// What is no policy is an error that names it.
ipc::Result<Policy> read_policy(ipc::schema::Policy::Reader message);

}  // namespace net
