// A device that threads serve, as the program around it sees it. blk::Device and net::Device are some.
#pragma once

#include <string>

#include "backends/serve/groups.h"
#include "backends/virtio/device.h"
#include "sandbox/policy/back_end.h"

namespace serve {

class Device : public virtio::Device {
 public:
  virtual Groups& groups() = 0;

  // The next front end finds nothing of the last one. A reset alone may leave what the driver chose: front ends reset
  // the device when they only stop it for a while, and show their own copy of the configuration.
  virtual void forget_front_end() = 0;

  // After an event Op::Own of the main group's: whatever it was about, while no other thread serves. True: the
  // configuration space has changed.
  virtual ipc::Result<bool> attend() { return false; }

  // The filter of the thread that serves `group`, as `role` has it. `slots` has what the role needs, beside what
  // the device itself uses.
  virtual ipc::Result<sandbox::Filter> filter(sandbox::Role role, Group& group, sandbox::Slots slots) = 0;

  // How requests are carried out, for people: "io_uring, direct I/O".
  virtual std::string describe() = 0;
};

}  // namespace serve
