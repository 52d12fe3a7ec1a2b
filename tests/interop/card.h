// bulkhead-net with a tap of its own, which can be killed and come back. Header-only; asserts nothing.
#pragma once

#include <signal.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "tests/interop/disk.h"
#include "tests/interop/qemu.h"
#include "tests/support/folder.h"
#include "tests/system/network.h"

namespace interop {

class Card {
 public:
  Card() { start(); }
  void start() {
    program_.reset();
    program_ = std::make_unique<system_test::Command>(std::vector<std::string>{
        std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-net", "--socket-path=" + socket(), "--tap=bhqemu",
        "--mac=" + std::string(kMac), "--queue-pairs=" + std::to_string(kQueues),
        "--control-path=" + folder_.file("control")});
    for (int i = 0; i < 100 && program_->errors().find("serving") == std::string::npos; ++i)
      static_cast<void>(program_->wait(Seconds(0.05)));
    // The tap goes with the process. The guest remembers its address for a while.
    system_test::host(
        "ip link set bhqemu address 02:00:00:00:00:97; ip address add 10.97.0.1/24 dev bhqemu; ip link set bhqemu up");
  }
  void kill() { ::kill(program_->pid(), SIGKILL); }
  std::string socket() const { return folder_.file("card"); }
  std::string file(const std::string& name) const { return folder_.file(name); }
  std::string log() const { return program_->errors(); }

 private:
  support::Folder folder_;
  std::unique_ptr<system_test::Command> program_;
};

}  // namespace interop
