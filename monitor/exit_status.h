// What `bulkhead run` ends with. Documented in `bulkhead run --help`.
#pragma once

namespace monitor {

enum class ExitStatus : int {
  PoweredOff = 0,
  BadConfiguration = 2,  // also: wrong usage of the command
  HostNotAble = 3,
  GuestCrashed = 4,  // triple fault, or KVM cannot go on
  ChildLost = 5,
  InternalError = 6,
  SignalBase = 128,  // plus the number of the signal that ended the VM
};

}  // namespace monitor
