#include "backends/net/command_line.h"

#include <sys/random.h>

#include <string_view>

#include "backends/net/policy_options.h"

namespace net {

using program::Answer;
using program::refuse;

namespace {

// docs/interop/vhost-user.rst, "Back-end program conventions".
constexpr std::string_view kCapabilities = R"({"type": "net"})";

constexpr std::string_view kDescription =
    "Serves a network card to QEMU, Cloud Hypervisor, crosvm, DPDK or any other vhost-user front end, as a\n"
    "process that can reach nothing but the way out that it was given.";

constexpr std::string_view kFooter = R"(
An example with QEMU, on a tap that is made and goes with this process:
  bulkhead-net --socket-path=/run/net.sock --tap=tap0 --mac=52:54:00:12:34:56 --own-mac-only &
  qemu-system-x86_64 -m 1G \
    -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram \
    -chardev socket,id=net,path=/run/net.sock,reconnect=1 \
    -netdev vhost-user,id=net,chardev=net -device virtio-net-pci,netdev=net,mac=52:54:00:12:34:56

Exactly one way out is right:
  --tap=NAME           an interface of this host; several queues with --queue-pairs
  --tap-fd=N,...       the same, opened by who starts us: a queue for each pair, with IFF_VNET_HDR and a 12-byte header
  --packet=NAME        the frames of an existing interface, by a packet socket
  --stream-path=PATH   a Unix socket on which passt or QEMU (-netdev stream) listens; --stream-fd=N is such a connection
  --cable-path=PATH    another bulkhead-net, whose --cable-fd=N is the other end: offloads go through
  --null, --null=SIZE  nowhere; with a size, frames of so many bytes come out of nowhere, to measure with

It stays in the foreground, and listens again when the front end has gone. SIGTERM or SIGINT: it removes its
sockets and exits. Started by systemd with a socket, it needs neither --socket-path nor --fd.

With --control-path=PATH, root and the user that it runs as can ask it while it runs:
  bulkhead-net stats PATH               what it does: frames, bytes, and why frames were dropped
  bulkhead-net status PATH              how it is set up, and whether a front end is connected
  bulkhead-net set PATH --pps-out=5000  change limits
  bulkhead-net policy PATH OPTIONS      change what is let pass: all of it, as the options say
  bulkhead-net link PATH up|down        put the cable in, or pull it out: the guest sees it
Each has a --help of its own.

Guest memory must be sealed against shrinking, as QEMU's memory-backend-memfd is (seal=on, its default):
who could cut it short could kill this process. --accept-unsealed serves other memory all the same.

Exit status: 0 when asked to end, or when the connection of --fd has ended; 1 on failure; 2 for options
that make no sense. Without any option it is a child of bulkhead-monitor.
)";

// Locally administered, and nobody else's as far as chance goes.
EthernetAddress random_mac() {
  EthernetAddress mac{{0x52, 0x54, 0x00, 0, 0, 0}};
  // Without entropy, which no running Linux lacks, all zero is an address too.
  [[maybe_unused]] const ssize_t got = ::getrandom(mac.bytes.data() + 3, 3, 0);
  return mac;
}

}  // namespace

std::expected<CommandLine, Answer> parse_command_line(std::span<char* const> arguments, int passed) {
  CommandLine line;
  Options& options = line.options;
  std::string mac, null;
  std::string tap, packet, stream_path, cable_path;
  std::vector<int> tap_fds, stream_fd, cable_fd;
  PolicyOptions policy;
  CLI::App app(std::string(kDescription), "bulkhead-net");
  app.footer(std::string(kFooter));
  const std::string way = "Way out";
  app.add_option("--tap", tap, "a tap, made if it is not there")->type_name("NAME")->group(way);
  app.add_option("--tap-fd", tap_fds, "the queues of a tap")->type_name("N,...")->delimiter(',')->group(way);
  app.add_option("--packet", packet, "frames of an interface")->type_name("NAME")->group(way);
  app.add_option("--stream-path", stream_path, "passt's or QEMU's stream")->type_name("PATH")->group(way);
  app.add_option("--stream-fd", stream_fd, "such a connection")->type_name("N")->expected(1)->group(way);
  app.add_option("--cable-path", cable_path, "another bulkhead-net's")->type_name("PATH")->group(way);
  app.add_option("--cable-fd", cable_fd, "such a connection")->type_name("N")->expected(1)->group(way);
  const CLI::Option* nowhere = app.add_option("--null", null, "nowhere; frames of SIZE bytes come from there")
                                   ->type_name("SIZE")
                                   ->expected(0, 1)
                                   ->group(way);
  app.add_option("--mac", mac, "the card's address (52:54:00 and chance)")->type_name("MAC");
  app.add_option("--mtu", options.mtu, "what the guest is told, 68 to 65535 (1500)")->type_name("N");
  app.add_option("--queue-pairs", options.pairs, "pairs of virtqueues, 1 to 31 (1)")
      ->type_name("N")
      ->check(CLI::Range(std::uint16_t{1}, kMostPairs));
  add_policy_options(app, policy);
  program::CommonOptions common(app, line.common, kLimitKinds);
  if (auto parsed = common.parse(arguments, passed, kCapabilities); !parsed)
    return std::unexpected(std::move(parsed).error());
  options.manner = line.common.manner;

  unsigned ways = 0;
  const auto choose = [&](bool given, Way chosen, std::string name, std::vector<int> descriptors) {
    if (!given) return;
    ++ways;
    line.way = chosen;
    line.name = std::move(name);
    line.descriptors = std::move(descriptors);
  };
  choose(!tap.empty(), Way::Tap, tap, {});
  choose(!tap_fds.empty(), Way::TapFd, "", tap_fds);
  choose(!packet.empty(), Way::Packet, packet, {});
  choose(!stream_path.empty(), Way::StreamPath, stream_path, {});
  choose(!stream_fd.empty(), Way::StreamFd, "", stream_fd);
  choose(!cable_path.empty(), Way::CablePath, cable_path, {});
  choose(!cable_fd.empty(), Way::CableFd, "", cable_fd);
  choose(nowhere->count() > 0, Way::Null, "", {});
  if (ways != 1)
    return refuse(
        "exactly one way out is right: --tap, --tap-fd, --packet, --stream-path, --stream-fd, --cable-path, --cable-fd "
        "or --null");
  for (const int descriptor : line.descriptors)
    if (descriptor < 3) return refuse(fmt::format("descriptor {}: a number of 3 or more is right", descriptor));
  if (line.way == Way::TapFd && line.descriptors.size() != options.pairs)
    return refuse(
        fmt::format("--tap-fd: {} descriptors for {} pairs of queues", line.descriptors.size(), options.pairs));
  const bool many = line.way == Way::Tap || line.way == Way::TapFd || line.way == Way::Null;
  if (options.pairs > 1 && !many) return refuse("--queue-pairs: this way out has one queue");
  if (!null.empty()) {
    const auto bytes = program::bytes_of(null);
    if (!bytes || *bytes < kEthernetBytes || *bytes > 65535)
      return refuse(fmt::format("--null={}: 14 to 65535 bytes are right", null));
    line.null_bytes = static_cast<std::size_t>(*bytes);
  }
  const auto address = mac.empty() ? random_mac() : parse_ethernet(mac);
  if (!address || address->is_multicast())
    return refuse(fmt::format("--mac={}: six bytes as 52:54:00:12:34:56 are right, of no multicast address", mac));
  options.mac = *address;
  auto checked = policy_of(policy);
  if (!checked) return refuse(checked.error());
  options.policy = std::move(*checked);
  return line;
}

}  // namespace net
