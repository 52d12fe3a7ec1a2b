// A guest's network card, by each way out that `bulkhead run` knows.
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <limits>
#include <thread>

#include "tests/support/catch.h"
#include "tests/system/exit_status.h"
#include "tests/system/machine.h"
#include "tests/system/network.h"
#include "tests/system/processes.h"

using namespace system_test;

namespace {

Options with_card(const std::string& card, const std::string& disk = "root.ext4") {
  return {.disk = new_root_disk(disk), .more = {"--net", card}};
}

void set_up(Machine& machine, const std::string& address) {
  const bool reached = machine.reach_shell();
  INFO(machine.errors());
  REQUIRE(reached);
  CHECK(bring_up(machine, {address}));
}

// Kills the machine's process of this name, a moment after each time that it has come back; `most` times.
class Killer {
 public:
  Killer(const Machine& machine, const std::string& name, int most = std::numeric_limits<int>::max())
      : thread_([&machine, name, most, this](const std::stop_token& stop) {
          while (!stop.stop_requested() && kills_ < most) {
            std::this_thread::sleep_for(std::chrono::milliseconds(700));
            const std::vector<Process> children = children_of(machine.pid());
            const Process* victim = find_by_name(children, name);
            if (victim != nullptr && ::kill(victim->pid, SIGKILL) == 0) ++kills_;
          }
        }) {}
  int kills() const { return kills_; }

 private:
  std::atomic<int> kills_ = 0;
  std::jthread thread_;  // ends first
};

// On the host's port 53: every name has the address 198.51.100.7 (RFC 1035, 4.1).
class Resolver {
 public:
  Resolver() {
    const sockaddr_in place{
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~Resolver() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

 private:
  void serve() {
    constexpr std::size_t kHeader = 12;
    // The name of the question, of type A and class IN, for a second: four bytes.
    constexpr char kAnswer[] = "\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc6\x33\x64\x07";
    std::array<char, 512> query{};
    sockaddr_storage from{};
    for (;;) {
      socklen_t length = sizeof from;
      auto* const sender = reinterpret_cast<sockaddr*>(&from);
      const ssize_t got = ::recvfrom(socket_.get(), query.data(), query.size(), 0, sender, &length);
      if (got <= 0) return;
      if (static_cast<std::size_t>(got) < kHeader + 6) continue;
      std::string reply(query.data(), static_cast<std::size_t>(got));
      const bool of_ipv4 = reply.substr(reply.size() - 4) == std::string("\0\1\0\1", 4);
      reply.replace(2, 10, std::string("\x81\x80\0\1\0\0\0\0\0\0", 10));
      if (of_ipv4) {
        reply[7] = 1;
        reply.append(kAnswer, sizeof kAnswer - 1);
      }
      ::sendto(socket_.get(), reply.data(), reply.size(), 0, sender, length);
    }
  }
  const ipc::UniqueFd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  std::thread thread_;
};

// A host with addresses and ways to others, as passt takes them over, and a resolver on itself: a network and a
// /etc/resolv.conf of this test's own, which go with it.
void make_uplink() {
  REQUIRE(::unshare(CLONE_NEWNS | CLONE_NEWNET) == 0);
  REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  REQUIRE(host("ip link set lo up && tunctl -t uplink >/dev/null && ip address add 192.0.2.9/24 dev uplink && "
               "ip link set uplink up && ip route add default via 192.0.2.1 dev uplink")
              .status == 0);
  // An interface without a carrier does not find a link-local address by itself; passt wants one.
  REQUIRE(host("echo 0 >/proc/sys/net/ipv6/conf/uplink/accept_dad && ip -6 address add fe80::9/64 dev uplink && "
               "ip -6 address add 2001:db8::9/64 dev uplink && ip -6 route add default via 2001:db8::1 dev uplink")
              .status == 0);
  REQUIRE(host("echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range").status == 0);  // who may ping, without a right
  // Places beyond the router.
  REQUIRE(host("ip address add 203.0.113.5/32 dev lo && ip -6 address add 2001:db8:1::5/128 dev lo").status == 0);
  REQUIRE(host("echo nameserver 127.0.0.1 >/run/resolv.conf; touch /etc/resolv.conf; "
               "mount -o bind /run/resolv.conf /etc/resolv.conf")
              .status == 0);
}

// By passt, the host's own addresses are behind the router's.
void converse(GuestShell& machine) {
  CHECK_THAT(lease(machine), Catch::Contains("192.0.2.9/"));
  CHECK(host_hears(machine, "echo from the guest | busybox nc 192.0.2.1 9") == "from the guest\n");
  // And to the guest, by the port that was asked for.
  CHECK(guest_hears(machine, "echo from the host | nc 127.0.0.1 2222") == "from the host\n");

  // Names, by the resolver that DHCP told of.
  CHECK(machine.run("cat /mnt/resolv.conf") == "nameserver 192.0.2.1\n");
  const Resolver resolver;
  CHECK_THAT(machine.run("busybox nslookup tenant.test 192.0.2.1"), Catch::Contains("198.51.100.7"));
  CHECK(answers(machine, "203.0.113.5"));

  // IPv6, by the router's advertisements.
  CHECK_THAT(machine.run("for i in 1 2 3 4 5 6 7 8 9 10; do ip -6 -o address show dev eth0 scope global | grep -q "
                         "2001:db8: && break; sleep 1; done; ip -6 -o address show dev eth0 scope global"),
             Catch::Contains("2001:db8:"));
  CHECK(answers(machine, "2001:db8:1::5"));
  CHECK(host_hears(machine, "echo by IPv6 | busybox nc 2001:db8:1::5 9") == "by IPv6\n");
}

}  // namespace

TEST_CASE("net: by a tap a guest and its host reach one another, and the tap goes with the machine", "[system][net]") {
  {
    Machine machine(with_card("tap=bhtest,mac=52:54:00:12:34:56,mtu=9000"));
    set_up(machine, "10.99.0.2/24");
    REQUIRE(host("ifconfig bhtest 10.99.0.1 netmask 255.255.255.0").status == 0);
    CHECK(machine.run("cat /sys/class/net/eth0/address") == "52:54:00:12:34:56\n");
    CHECK(machine.run("cat /sys/class/net/eth0/mtu") == "9000\n");
    CHECK(machine.run("cat /sys/class/net/eth0/carrier") == "1\n");
    CHECK(answers(machine, "10.99.0.1"));
    CHECK(host("ping -c 1 -W 10 10.99.0.2").status == 0);
    CHECK(machine.run("busybox ping -c 1 -W 10 -s 8900 10.99.0.1 >/dev/null; echo $?") == "0\n");
    CHECK(machine.run("dmesg | grep -ci 'virtio_net.*\\(warn\\|err\\|fail\\)'") == "0\n");

    // 8 MiB over TCP each way, with what the host's kernel and the driver leave to one another.
    const std::string got = guest_hears(machine, "head -c 8388608 /dev/urandom | tee /run/sent | nc 10.99.0.2 7",
                                        "busybox tee got | busybox sha256sum");
    CHECK(got == host("sha256sum </run/sent").output);
    CHECK(host_hears(machine, "busybox nc 10.99.0.1 9 </mnt/got", "sha256sum") == got);

    // The card's process is killed meanwhile, again and again: a connection outlives it.
    {
      Killer killer(machine, "bulkhead-net");
      CHECK(host_hears(machine, "busybox nc 10.99.0.1 9 </mnt/got", "sha256sum") == got);
      CHECK(guest_hears(machine, "nc 10.99.0.2 7 </run/sent", "busybox sha256sum") == got);
      CHECK(killer.kills() > 1);
    }

    // Another's name does not leave.
    CHECK(machine.run(
              "ip link set eth0 down; ip link set eth0 address 52:54:00:99:99:99; ip link set eth0 up; echo $?") ==
          "0\n");
    CHECK_FALSE(answers(machine, "10.99.0.1"));
    CHECK(machine.run(
              "ip link set eth0 down; ip link set eth0 address 52:54:00:12:34:56; ip link set eth0 up; echo $?") ==
          "0\n");
    CHECK(answers(machine, "10.99.0.1"));
    CHECK(machine.power_off() == kPoweredOff);
  }
  CHECK(host("for i in 1 2 3 4 5; do test -e /sys/class/net/bhtest || exit 0; sleep 1; done; exit 1").status == 0);
}

TEST_CASE("net: two machines on a cable, whichever comes first, and again", "[system][net]") {
  const std::string cable = "pair=/run/cable";
  Machine first(with_card(cable + ",mac=52:54:00:00:00:01", "first.ext4"));
  set_up(first, "10.98.0.1/24");
  CHECK(first.run("cat /sys/class/net/eth0/carrier") == "0\n");
  for (int i = 0; i < 2; ++i) {
    Machine second(with_card(cable + ",mac=52:54:00:00:00:02", "second.ext4"));
    set_up(second, "10.98.0.2/24");
    CHECK(answers(second, "10.98.0.1"));
    INFO(first.errors());
    CHECK(first.run("cat /sys/class/net/eth0/carrier") == "1\n");
    CHECK(answers(first, "10.98.0.2"));
    // 4 MiB over TCP, in frames as long as TCP likes them.
    CHECK(first.run("cd /root; rm -f open got; mkfifo open; busybox nc -l -p 7 >got 0<>open & sleep 1; echo ready") ==
          "ready\n");
    CHECK(second.run("cd /root; head -c 4194304 /dev/urandom >sent; busybox nc 10.98.0.1 7 <sent; echo sent") ==
          "sent\n");
    CHECK(first.run("wait; busybox sha256sum <got") == second.run("busybox sha256sum </root/sent"));
    CHECK(second.power_off() == kPoweredOff);
    CHECK(first.run("sleep 1; cat /sys/class/net/eth0/carrier") == "0\n");
  }
  CHECK(first.power_off() == kPoweredOff);
  CHECK(host("test -e /run/cable").status == 1);
}

TEST_CASE("net: by passt a guest has its host's network, without any right", "[system][net]") {
  make_uplink();
  Options options = with_card("user,hostfwd=tcp:2222:7");
  options.more.insert(options.more.end(), {"--name", "visitor", "--limits", "processes=100"});
  Machine machine(options);
  REQUIRE(machine.reach_shell());
  INFO(machine.errors());
  CHECK(bring_up(machine, {}));
  converse(machine);
  // It counts among the machine's processes.
  bool found = false;
  for (const Process& child : children_of(machine.pid())) {
    if (!child.name.starts_with("passt")) continue;
    found = true;
    CHECK_THAT(host("cat /proc/" + std::to_string(child.pid) + "/cgroup").output, Catch::Contains("/bulkhead/visitor"));
  }
  CHECK(found);

  // The card's process is killed, and again: connections through passt outlive it.
  CHECK(machine.run("head -c 65536 /dev/urandom >/mnt/sent; echo sent") == "sent\n");
  {
    Killer killer(machine, "bulkhead-net", 3);
    CHECK(host_hears(machine, "(head -c 32768 /mnt/sent; sleep 3; tail -c 32768 /mnt/sent) | busybox nc 192.0.2.1 9",
                     "sha256sum") == machine.run("busybox sha256sum </mnt/sent"));
    CHECK(killer.kills() > 1);
  }

  // It is killed, and comes back by itself.
  REQUIRE(host("killall -9 passt || killall -9 passt.avx2").status == 0);
  CHECK(machine.run("sleep 4; cat /sys/class/net/eth0/carrier") == "1\n");
  CHECK(host_hears(machine, "echo once more | busybox nc 192.0.2.1 9") == "once more\n");
  CHECK(machine.power_off() == kPoweredOff);
  CHECK(host("pidof passt passt.avx2").status == 1);
}

TEST_CASE("net: an ordinary user's guest has his host's network by passt", "[system][net]") {
  make_uplink();
  REQUIRE(host("chmod 666 /dev/kvm; chmod 755 /root").status == 0);
  GuestShell machine({"/usr/bin/setpriv",
                      "--reuid=1000",
                      "--regid=1000",
                      "--clear-groups",
                      bin("bulkhead"),
                      "run",
                      "--serial",
                      "stdio",
                      "--memory",
                      "256M",
                      "--kernel",
                      guest("cloud/vmlinux"),
                      "--initrd",
                      guest("cloud/initramfs"),
                      "--cmdline",
                      "console=ttyS0 root=/dev/vda ro panic=-1 init=/bin/sh quiet",
                      "--disk",
                      "path=" + guest("tools.ext4") + ",readonly=on",
                      "--net",
                      "user,hostfwd=tcp:2222:7"});
  const bool reached = machine.reach_shell();
  INFO(machine.errors());
  REQUIRE(reached);
  CHECK(bring_up(machine, {}));
  converse(machine);
  CHECK(machine.power_off() == kPoweredOff);
}
