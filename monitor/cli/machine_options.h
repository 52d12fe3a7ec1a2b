// The options of `bulkhead run`, as typed, and the machine that they describe.
#pragma once

#include <string>
#include <vector>

#include "ipc/error.h"
#include "ipc/schema/machine.capnp.h"

namespace cli {

struct MachineOptions {
  std::string name;
  std::string cpus = "1";
  std::string memory = "512M";
  std::string kernel;
  std::string initrd;
  std::string cmdline;
  std::vector<std::string> disks;     // path=D[,readonly=on|off][,serial=S][,queues=N][,cache=C]
  std::vector<std::string> nets;      // tap|user|pair=PATH, and more: see kNetHelp
  std::vector<std::string> devices;   // vhost-user,socket=PATH,id=NN[,queues=N]
  std::string serial = "stdio";       // stdio, pty, none, file=PATH
  std::string control;                // folder
  std::vector<std::string> required;  // layers of isolation
  std::string limits;                 // [memory=S][,processes=N][,cpu=N][,io-weight=N][,cgroup=PATH]
};

// The text's syntax alone is checked here; whether the numbers make a machine is the monitor's to
// say. An error is one line that names the option and what would be right.
ipc::Result<> describe_machine(const MachineOptions& options, ipc::schema::Machine::Builder machine);

}  // namespace cli
