#include "tests/system/network.h"

#include <unistd.h>

namespace system_test {
namespace {

const std::string kScratch = "mountpoint -q /mnt || mount -t tmpfs none /mnt; cd /mnt; ";

}  // namespace

Outcome host(const std::string& command, Seconds limit) {
  return system_test::run({"/bin/busybox", "sh", "-c", command}, limit);
}

bool bring_up(GuestShell& guest, const std::vector<std::string>& addresses) {
  std::string command = "modprobe virtio_net && ip link set eth0 up";
  for (const std::string& address : addresses)
    command += address.find(':') == std::string::npos ? " && ip address add " + address + " dev eth0"
                                                      : " && ip -6 address add " + address + " dev eth0 nodad";
  return guest.run(command + "; echo $?") == "0\n";
}

std::string lease(GuestShell& guest) {
  guest.run(kScratch +
            "printf '#!/bin/sh\\n[ \"$1\" = bound ] && ip address add $ip/$mask dev eth0 && ip route add default via "
            "$router dev eth0 && echo nameserver $dns >/mnt/resolv.conf\\n' >leased; chmod +x leased");
  return guest.run("busybox udhcpc -q -n -t 10 -i eth0 -s /mnt/leased >/dev/null 2>&1; ip -4 -o address show eth0");
}

bool answers(GuestShell& guest, const std::string& address) {
  return guest.run("busybox ping -c 2 -W 5 " + address + " >/dev/null; echo $?") == "0\n";
}

// The file has a sign for each bit, the first for bit 0.
bool has_feature(GuestShell& guest, unsigned bit) {
  return guest.run("cut -c " + std::to_string(bit + 1) + " /sys/class/net/eth0/device/features") == "1\n";
}

std::string host_hears(GuestShell& guest, const std::string& command, const std::string& filter, Seconds limit) {
  Command listener({"/bin/busybox", "sh", "-c", "nc -l -p 9 | " + filter + "; echo heard"});
  ::usleep(500'000);
  guest.run(command, limit);
  return listener.read_until("heard", limit).value_or("(nothing)");
}

std::string guest_hears(GuestShell& guest, const std::string& command, const std::string& filter, Seconds limit) {
  // Its input is a pipe that nobody closes: nc would end with it.
  if (guest.run(kScratch + "rm -f open; mkfifo open; (busybox nc -l -p 7 0<>open | " + filter +
                " >heard) & sleep 1; echo ready") != "ready\n")
    return "(it does not listen)";
  if (host(command, limit).status != 0) return "(nobody sent)";
  return guest.run("wait; cat /mnt/heard", limit);
}

}  // namespace system_test
