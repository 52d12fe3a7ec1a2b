// How a guest's life from power-on to power-off or reset ended.
#pragma once

#include <string>

#include "ipc/schema/control.capnp.h"

namespace monitor {

struct Ending {
  enum class Kind { PoweredOff, Reset, GuestCrashed, ChildLost, BadConfiguration, HostNotAble, InternalError };
  Kind kind;
  std::string reason;  // one line; empty for the first two

  // By what the child of this name says of its failure: distrusted.
  static Ending by_failure(const std::string& name, ipc::schema::Failure::Reader failure);
};

}  // namespace monitor
