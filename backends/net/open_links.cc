#include "backends/net/open_links.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "ipc/tap.h"
#include "ipc/unix_socket.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace net {
namespace {

using ipc::Result;
using ipc::UniqueFd;
using Links = std::vector<std::unique_ptr<Link>>;

Result<UniqueFd> open_packet_socket(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return ipc::failure(ENODEV, "there is no such interface");
  // Without a protocol nothing comes in before it is bound to the interface.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return ipc::system_failure("open a packet socket");
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::setsockopt(socket.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0)
    return ipc::system_failure("set the packet socket up");
  const packet_mreq membership{
      .mr_ifindex = static_cast<int>(index), .mr_type = PACKET_MR_PROMISC, .mr_alen = 0, .mr_address = {}};
  if (::setsockopt(socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) != 0)
    return ipc::system_failure("receive frames for the card's address");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return ipc::system_failure("bind the packet socket");
  return socket;
}

Result<Links> single(Result<std::unique_ptr<Link>> link) {
  Links links;
  links.push_back(TRY(std::move(link)));
  return links;
}

Result<Links> open(const CommandLine& command) {
  switch (command.way) {
    case Way::Tap: {
      Links links;
      ipc::Tap tap = TRY(ipc::open_tap(command.name, command.options.pairs));
      for (UniqueFd& queue : tap.queues) links.push_back(TRY(make_tap_link(std::move(queue))));
      return links;
    }
    case Way::TapFd: {
      Links links;
      for (const int descriptor : command.descriptors) links.push_back(TRY(make_tap_link(UniqueFd(descriptor))));
      return links;
    }
    case Way::Packet:
      return single(make_packet_link(TRY(open_packet_socket(command.name))));
    case Way::StreamPath:
      return single(make_stream_link(TRY(ipc::connect_unix(command.name, SOCK_STREAM)), false));
    case Way::StreamFd:
      return single(make_stream_link(UniqueFd(command.descriptors.front()), false));
    case Way::CablePath:
      return single(make_stream_link(TRY(ipc::connect_unix(command.name, SOCK_STREAM)), true));
    case Way::CableFd:
      return single(make_stream_link(UniqueFd(command.descriptors.front()), true));
    case Way::Null: {
      Links links;
      for (std::uint16_t i = 0; i < command.options.pairs; ++i) links.push_back(make_null_link(command.null_bytes));
      return links;
    }
    case Way::None:
      break;
  }
  return ipc::failure(EINVAL, "no way out");
}

}  // namespace

Result<Links> open_links(const CommandLine& command) {
  auto links = open(command);
  if (!links) links.error().context = fmt::format("{}: {}", describe(command), links.error().context);
  return links;
}

Abilities abilities_of(Way way) {
  switch (way) {
    case Way::Tap:
    case Way::TapFd:
    case Way::Packet:
    case Way::Null:
      return Abilities::Kernel;
    case Way::CablePath:
    case Way::CableFd:
      return Abilities::Tcp;
    case Way::StreamPath:
    case Way::StreamFd:
    case Way::None:
      break;
  }
  return Abilities::Frames;
}

std::string describe(const CommandLine& command) {
  switch (command.way) {
    case Way::Tap:
      return "tap " + command.name;
    case Way::TapFd:
      return fmt::format("tap of descriptor {}", fmt::join(command.descriptors, ", "));
    case Way::Packet:
      return "interface " + command.name;
    case Way::StreamPath:
      return "stream " + command.name;
    case Way::CablePath:
      return "cable " + command.name;
    case Way::StreamFd:
    case Way::CableFd:
      return fmt::format("{} of descriptor {}", command.way == Way::StreamFd ? "stream" : "cable",
                         command.descriptors.front());
    case Way::Null:
    case Way::None:
      break;
  }
  return "nowhere";
}

}  // namespace net
