// Debian's QEMU with Debian's kernel in it, whose second disk or network card is at a vhost-user socket.
#pragma once

#include <string>

#include "tests/system/guest_shell.h"

namespace interop {

using system_test::Seconds;

struct QemuOptions {
  std::string disk{};         // socket of its back end; empty: none
  std::string card{};         // likewise
  std::string name = "qemu";  // of its monitor's socket in the test's directory; empty: no monitor
  bool packed = false;        // rings of the disk or card
  bool incoming = false;      // waits for a guest that migrates to it
  bool kvm = false;           // and a card's queues have interrupt vectors
};

inline constexpr char kMac[] = "52:54:00:12:34:56";  // of the card

// The guest's root is read-only; /dev/vdb is the disk, with a queue for each of its processors.
class Qemu : public system_test::GuestShell {
 public:
  explicit Qemu(const QemuOptions& options);
};

std::string monitor_socket(const std::string& name);

}  // namespace interop
