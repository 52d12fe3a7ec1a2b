// QEMU with KVM as the front end: guest and back end notify one another through KVM, and QEMU is not between them.
#include <unistd.h>

#include "tests/interop/card.h"
#include "tests/support/catch.h"

using namespace interop;
using system_test::host;

namespace {

// The message-signalled interrupts that KVM is given while this lives, each with the process that gave it.
class Raised {
 public:
  Raised() {
    host("cd /sys/kernel/tracing && { [ -d instances ] || mount -t tracefs none .; }; mkdir " + place_);
    host("echo 1 >" + place_ + "/events/kvm/kvm_msi_set_irq/enable");
  }
  ~Raised() { host("echo 0 >" + place_ + "/events/enable; rmdir " + place_); }
  Raised(const Raised&) = delete;
  Raised& operator=(const Raised&) = delete;

  int by(const std::string& program) const {
    return std::stoi("0" + host("grep -c ' " + program + "-[0-9]' " + place_ + "/trace").output);
  }

 private:
  const std::string place_ = "/sys/kernel/tracing/instances/bulkhead" + std::to_string(::getpid());
};

// How many interrupts the guest has taken by its card's vectors.
int taken(Qemu& qemu) {
  return std::stoi("0" + qemu.run("busybox awk '/PCI-MSI.*virtio[0-9]-(input|output)/ {sum += $2 + $3} "
                                  "END {print sum + 0}' /proc/interrupts"));
}

}  // namespace

TEST_CASE("QEMU with KVM: back ends interrupt the guest by themselves, are killed, and come back", "[interop]") {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) SKIP_TEST("no right to open /dev/net/tun");
  Card card;
  Disk disk(8 * kMiB);
  // In the lab no socket can be in the test's directory.
  Qemu qemu({.disk = disk.socket(), .card = card.socket(), .name = "", .kvm = true});
  REQUIRE(qemu.reach_shell());
  INFO(qemu.output() << qemu.errors() << card.log() << disk.log());
  const Raised raised;
  REQUIRE(bring_up(qemu, {"10.97.0.2/24"}));

  const int before = taken(qemu);
  CHECK(echoes(qemu, card, 4 * kMiB));
  card.kill();
  card.start();
  CHECK(answers_again(qemu));
  CHECK(echoes(qemu, card, 4 * kMiB));
  const int during = taken(qemu) - before;
  CHECK(during > 0);
  CHECK(raised.by("bulkhead-net") > during * 9 / 10);  // QEMU may repeat one whenever a queue starts

  const std::string compare = "dd if=/dev/vdb bs=1M count=4 iflag=direct 2>/dev/null | cmp - /run/data && echo same";
  CHECK(qemu.run("head -c 4M /dev/urandom >/run/data; dd if=/run/data of=/dev/vdb bs=1M oflag=direct 2>/dev/null; " +
                 compare) == "same\n");
  disk.serve();
  CHECK(qemu.run(compare) == "same\n");
  CHECK(raised.by("bulkhead-blk") > 0);
  CHECK(qemu.power_off() == 0);
}
