// A running machine in its operator's hands: what he sees of it, and what he changes while the guest works.
#include <unistd.h>

#include <iostream>
#include <thread>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/network.h"

using namespace system_test;
using Catch::Contains;

namespace {

const std::string kFolder = "/run/bulkhead/vm1";

Outcome ask(const std::string& program, std::vector<std::string> words) {
  words.insert(words.begin(), bin(program));
  return run(words);
}
Outcome card(const std::string& command, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {command, kFolder + "/net0"});
  return ask("bulkhead-net", std::move(more));
}

Options with_card(const std::string& card, unsigned cpus) {
  return {.cpus = cpus,
          .disk = guest("tools.ext4") + ",readonly=on",
          .cmdline = "ro",
          .more = {"--net", "tap=bhtest,mac=52:54:00:12:34:56" + card, "--name", "vm1"}};
}

void set_up(Machine& machine) {
  const bool reached = machine.reach_shell();
  INFO(machine.errors());
  REQUIRE(reached);
  CHECK(bring_up(machine, {"10.99.0.2/24", "fd00::2/64"}));
  REQUIRE(host("ip address add 10.99.0.1/24 dev bhtest; ip -6 address add fd00::1/64 dev bhtest; "
               "echo 0 >/proc/sys/net/ipv6/conf/bhtest/accept_dad; sleep 2")
              .status == 0);
}

// How many frames of the guest were dropped for this reason, as JSON tells of each queue pair's way out.
std::uint64_t dropped(const std::string& reason) {
  const std::string told = card("stats", {"--once", "--json"}).output;
  const std::string key = "\"" + reason + "\": ";
  INFO(told);
  REQUIRE_THAT(told, Contains(key));
  std::uint64_t all = 0;
  for (std::size_t at = told.find(key); at != std::string::npos; at = told.find(key, at + 1))
    all += std::stoull(told.substr(at + key.size()));
  return all;
}

}  // namespace

TEST_CASE("operators: they see a machine's processes, pull its cable, replace what is behind a device", "[system]") {
  Machine machine(with_card("", 1));
  set_up(machine);
  CHECK(answers(machine, "10.99.0.1"));

  const Outcome inspected = ask("bulkhead", {"inspect", "vm1"});
  std::cout << inspected.output;
  CHECK(inspected.status == 0);
  CHECK_THAT(inspected.output, !Contains("WEAK") && !Contains("by its tables") && Contains("spawner (") &&
                                   Contains("vcpu-host (") && Contains("blk0 (") && Contains("net0 ("));
  CHECK_THAT(ask("bulkhead-blk", {"stats", kFolder + "/blk0", "--once"}).output, Contains("read"));
  CHECK_THAT(card("status").output, Contains("52:54:00:12:34:56, link up") && Contains("tap bhtest"));

  CHECK(card("link", {"down"}).status == 0);
  CHECK(machine.run("sleep 1; cat /sys/class/net/eth0/carrier") == "0\n");
  CHECK(card("link", {"up"}).status == 0);
  CHECK(machine.run("sleep 1; cat /sys/class/net/eth0/carrier") == "1\n");
  CHECK(answers(machine, "10.99.0.1"));

  // A connection lives through the death of the process behind the card.
  CHECK(machine.run("mount -t tmpfs none /mnt; mkfifo /mnt/open; (busybox nc -l -p 7 0<>/mnt/open | busybox sha256sum "
                    ">/mnt/sum; echo >/mnt/done) & sleep 1; echo ready") == "ready\n");
  Command sender({"/bin/busybox", "sh", "-c",
                  "head -c 4194304 /dev/urandom >/run/sent; (head -c 2097152 /run/sent; sleep 6; tail -c 2097152 "
                  "/run/sent) | nc 10.99.0.2 7; sha256sum </run/sent; echo done"});
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(Seconds(1.5));
    CHECK(ask("bulkhead", {"device", "restart", "vm1", "net0"}).status == 0);
  }
  CHECK(ask("bulkhead", {"device", "restart", "vm1", "blk0"}).status == 0);
  const auto sent = sender.read_until("done", Seconds(90));
  REQUIRE(sent);
  CHECK(machine.run("until [ -e /mnt/done ]; do sleep 0.2; done; cat /mnt/sum") == *sent);
  CHECK(answers(machine, "10.99.0.1"));
  CHECK_THAT(machine.run("ls /usr/bin | wc -l; sync; echo read"), Contains("read"));
  const Outcome again = ask("bulkhead", {"inspect", "vm1"});
  CHECK(again.status == 0);
  CHECK_THAT(again.output, Contains("replaced         3 times, last: asked by the operator"));
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(access(kFolder.c_str(), F_OK) != 0);
}

TEST_CASE("operators: what a card's guest forges stays inside, and rates hold", "[system][net]") {
  Machine machine(with_card(",address=10.99.0.2 fd00::2 fe80::/10", 1));
  set_up(machine);
  CHECK(answers(machine, "10.99.0.1"));
  CHECK(answers(machine, "fd00::1"));
  const std::vector<std::string> reasons{"spoof-mac", "spoof-arp", "spoof-ip4", "spoof-ip6", "spoof-nd"};
  for (const std::string& reason : reasons) CHECK(dropped(reason) == 0);

  // Another's IPv4, by ARP and by datagrams; another's IPv6, and a neighbour's advertisement of it; another's MAC.
  machine.run("ip address add 10.99.0.66/24 dev eth0; busybox arping -c 2 -w 3 -s 10.99.0.66 -I eth0 10.99.0.1");
  CHECK(dropped("spoof-arp") > 0);
  machine.run("busybox ping -c 2 -W 1 -I 10.99.0.66 10.99.0.1");
  CHECK(dropped("spoof-ip4") > 0);
  machine.run("ip -6 address add fd00::66/64 dev eth0 nodad; busybox ping6 -c 2 -W 1 -I fd00::66 fd00::1");
  CHECK(dropped("spoof-ip6") > 0);
  // The host asks who fd00::66 is, and the guest's kernel says that it is.
  host("ping6 -c 2 -W 1 fd00::66");
  CHECK(dropped("spoof-nd") > 0);
  CHECK(host("arp -n | grep -c 10.99.0.66").output == "0\n");
  CHECK_THAT(host("ip -6 neigh show fd00::66").output, !Contains("52:54:00:12:34:56"));
  const std::string rename = "ip link set eth0 down; ip link set eth0 address ";
  machine.run(rename + "52:54:00:99:99:99; ip link set eth0 up; busybox ping -c 2 -W 1 10.99.0.1");
  CHECK(dropped("spoof-mac") > 0);
  machine.run(rename + "52:54:00:12:34:56; ip link set eth0 up");
  std::cout << card("stats", {"--once", "--json"}).output;
  CHECK(answers(machine, "10.99.0.1"));

  // 10 s at 1 MB/s, which the tap counts.
  CHECK(card("set", {"--bps-out=1000000"}).status == 0);
  Command listener({"/bin/busybox", "sh", "-c", "nc -l -p 9 >/dev/null; echo done"});
  std::this_thread::sleep_for(Seconds(0.5));
  machine.send("(busybox nc 10.99.0.1 9 </dev/zero &) 2>/dev/null\n");
  std::this_thread::sleep_for(Seconds(3));  // TCP has found its rate, and the burst is spent
  const Outcome counted = host(
      "f=/sys/class/net/bhtest/statistics/rx_bytes; a=$(cat $f); s=$(cut -d' ' -f1 /proc/uptime); sleep 10; b=$(cat "
      "$f); "
      "e=$(cut -d' ' -f1 /proc/uptime); awk \"BEGIN { print ($b - $a) / ($e - $s) }\"");
  std::cout << "limit 1000000 bytes/s, measured " << counted.output;
  const double rate = std::stod(counted.output);
  CHECK(rate > 970'000);
  CHECK(rate < 1'030'000);
  CHECK(card("set", {"--bps-out=0"}).status == 0);
  machine.run("busybox killall nc");
  CHECK(machine.power_off() == kPoweredOff);
}

TEST_CASE("operators: a card of two queue pairs, IPv6, VLANs, and what ethtool says", "[system][net]") {
  Machine machine(with_card(",queues=2,mtu=9000", 2));
  set_up(machine);
  CHECK_THAT(machine.run("ethtool -l eth0"), Contains("Combined:\t2\nCurrent") && Catch::EndsWith("Combined:\t2\n"));
  const std::string features = machine.run("ethtool -k eth0");
  for (const char* feature : {"rx-checksumming: on", "tx-checksumming: on", "tcp-segmentation-offload: on",
                              "generic-receive-offload: on", "rx-vlan-filter: on"})
    CHECK_THAT(features, Contains(feature));
  CHECK_THAT(machine.run("ethtool eth0"), Contains("Speed: 10000Mb/s") && Contains("Duplex: Full"));
  CHECK(answers(machine, "fd00::1"));
  CHECK(machine.run("busybox ping6 -c 1 -W 10 -s 8900 fd00::1 >/dev/null; echo $?") == "0\n");

  // Both pairs carry frames: connections of many ports, from both processors.
  Command listener({"/bin/busybox", "sh", "-c", "nc -lk -p 9 -e cat; true"});
  std::this_thread::sleep_for(Seconds(0.5));
  machine.run(
      "for i in 1 2 3 4 5 6 7 8; do for c in 0 1; do busybox taskset -c $c busybox nc -w 2 10.99.0.1 9 "
      "</etc/os-release >/dev/null; done; done; for c in 0 1; do busybox taskset -c $c busybox ping -c 3 "
      "10.99.0.1 >/dev/null; done");
  const std::string counters = machine.run("ethtool -S eth0");
  CHECK_THAT(counters, Contains("tx_queue_1_packets") && !Contains("tx_queue_0_packets: 0\n") &&
                           !Contains("tx_queue_1_packets: 0\n"));

  REQUIRE(host("ip link add link bhtest name bhtest.5 type vlan id 5 && ip address add 10.55.0.1/24 dev bhtest.5 && "
               "ip link set bhtest.5 up")
              .status == 0);
  CHECK(machine.run(
            "modprobe 8021q && ip link add link eth0 name eth0.5 type vlan id 5 && ip address add 10.55.0.2/24 dev "
            "eth0.5 && ip link set eth0.5 up; echo $?") == "0\n");
  CHECK(answers(machine, "10.55.0.1"));
  CHECK(dropped("vlan") == 0);
  CHECK(card("policy", {"--own-mac-only", "--vlans=untagged,7"}).status == 0);
  CHECK_FALSE(answers(machine, "10.55.0.1"));  // no way into another VLAN
  CHECK(dropped("vlan") > 0);
  CHECK(answers(machine, "10.99.0.1"));
  CHECK(card("policy", {"--own-mac-only", "--vlans=untagged,5"}).status == 0);
  CHECK(answers(machine, "10.55.0.1"));
  CHECK(machine.power_off() == kPoweredOff);
}
