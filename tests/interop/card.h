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

// In a guest with 10.97.0.2: so many bytes that nobody has seen before come by TCP, and return, as they were.
inline bool echoes(system_test::GuestShell& guest, const Card& card, std::uint64_t bytes) {
  const std::string sent = card.file("sent");
  const std::string got = system_test::guest_hears(
      guest, "head -c " + std::to_string(bytes) + " /dev/urandom | tee " + sent + " | nc 10.97.0.2 7",
      "busybox tee got | busybox sha256sum");
  return got == system_test::host("sha256sum <" + sent).output &&
         got == system_test::host_hears(guest, "busybox nc 10.97.0.1 9 </mnt/got", "sha256sum");
}

// QEMU connects to a new process after a second.
inline bool answers_again(system_test::GuestShell& guest) {
  return guest.run(
             "for i in 1 2 3 4 5 6 7 8 9 10; do busybox ping -c 1 -W 1 10.97.0.1 >/dev/null && break; done; "
             "echo $?") == "0\n";
}

}  // namespace interop
