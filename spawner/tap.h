// A machine's taps: made, named and joined to bridges with the operator's rights.
#pragma once

#include "ipc/schema/spawner.capnp.h"
#include "ipc/tap.h"

namespace spawner {

// The tap of `card`, which has one: up, with its MTU. Errors name tap or bridge, and what could not be done.
ipc::Result<ipc::Tap> make_tap(ipc::schema::SpawnerSetup::Card::Reader card);

}  // namespace spawner
