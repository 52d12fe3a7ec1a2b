// The network cards of a machine, checked as far as numbers and names can be.
#pragma once

#include "monitor/configuration.h"

namespace monitor {

// Errors are one line that names the card. `machine` is the machine's name, of which MAC addresses are made.
ipc::Result<std::vector<NetConfiguration>> check_nets(capnp::List<ipc::schema::Net>::Reader nets,
                                                      const std::string& machine);

// The address of card `index` of `machine`: locally administered, and the same on every host and in every version.
ipc::EthernetAddress derive_mac(const std::string& machine, std::size_t index);

}  // namespace monitor
