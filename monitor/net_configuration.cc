#include "monitor/net_configuration.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "ipc/tap.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
namespace schema = ipc::schema;

namespace {

constexpr std::uint16_t kLeastMtu = 68;  // RFC 791

std::unexpected<ipc::Error> invalid(std::size_t index, const std::string& what) {
  return failure(0, fmt::format("network card {}: {}", index, what));
}

// "tcp:2222:22".
std::optional<UserConfiguration::Forward> parse_forward(const std::string& text) {
  UserConfiguration::Forward forward{.udp = text.starts_with("udp:")};
  if (!forward.udp && !text.starts_with("tcp:")) return std::nullopt;
  const char* const end = text.data() + text.size();
  const auto host = std::from_chars(text.data() + 4, end, forward.host);
  if (host.ec != std::errc() || host.ptr == end || *host.ptr != ':') return std::nullopt;
  const auto guest = std::from_chars(host.ptr + 1, end, forward.guest);
  const bool good = guest.ec == std::errc() && guest.ptr == end && forward.host != 0 && forward.guest != 0;
  return good ? std::optional(forward) : std::nullopt;
}

Result<decltype(NetConfiguration::way)> check_way(schema::Net::Reader net, std::size_t index) {
  switch (net.which()) {
    case schema::Net::TAP: {
      TapConfiguration tap{.name = net.getTap().getName().cStr(), .bridge = net.getTap().getBridge().cStr()};
      for (const std::string& name : {tap.name, tap.bridge})
        if (!name.empty()) TRY(ipc::check_interface_name(name));
      return tap;
    }
    case schema::Net::USER: {
      UserConfiguration user;
      for (const auto text : net.getUser().getForwards()) {
        const auto forward = parse_forward(text.cStr());
        if (!forward)
          return invalid(index, fmt::format("forward {}: tcp:HOSTPORT:GUESTPORT or udp:... is right", text.cStr()));
        user.forwards.push_back(*forward);
      }
      return user;
    }
    case schema::Net::PAIR:
      if (net.getPair().size() == 0) return invalid(index, "the pair's socket has no path");
      return PairConfiguration{net.getPair().cStr()};
  }
  return invalid(index, "tap, user or pair is right");
}

Result<NetConfiguration> check_net(schema::Net::Reader net, std::size_t index, const std::string& machine) {
  NetConfiguration result{.way = TRY(check_way(net, index))};
  result.mac = derive_mac(machine, index);
  if (const std::string text = net.getMac().cStr(); !text.empty()) {
    const auto mac = ipc::parse_ethernet(text);
    if (!mac || mac->is_multicast())
      return invalid(index,
                     fmt::format("mac {}: six bytes as 52:54:00:12:34:56 are right, of no multicast address", text));
    result.mac = *mac;
  }
  result.mtu = net.getMtu();
  if (result.mtu < kLeastMtu) return invalid(index, fmt::format("MTU {}: {} to 65535 is right", result.mtu, kLeastMtu));
  result.queue_pairs = net.getQueuePairs();
  const std::uint16_t most = net.isTap() ? schema::MAX_QUEUE_PAIRS : 1;
  if (result.queue_pairs == 0 || result.queue_pairs > most)
    return invalid(index, fmt::format("{} pairs of queues: 1 to {} is right{}", result.queue_pairs, most,
                                      net.isTap() ? "" : " for what is no tap"));
  result.own_mac_only = !net.getAllowSpoofing();
  for (const auto text : net.getAddresses()) {
    std::string address = text.cStr();
    (address.find(':') == std::string::npos ? result.ipv4 : result.ipv6).push_back(std::move(address));
  }
  result.flood = net.getFlood();
  return result;
}

}  // namespace

ipc::EthernetAddress derive_mac(const std::string& machine, std::size_t index) {
  // FNV-1a, 64 bits.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const char c : machine) add(static_cast<std::uint8_t>(c));
  add('/');
  add(static_cast<std::uint8_t>(index));
  ipc::EthernetAddress mac{
      {0x52, 0x54, 0, 0, 0, 0}};  // 0x52 has the bit of local administration, and not that of groups
  for (std::size_t i = 2; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  return mac;
}

Result<std::vector<NetConfiguration>> check_nets(capnp::List<schema::Net>::Reader nets, const std::string& machine) {
  std::vector<NetConfiguration> all;
  for (const auto net : nets) {
    NetConfiguration card = TRY(check_net(net, all.size(), machine));
    const auto same = std::ranges::find(all, card.mac, &NetConfiguration::mac);
    if (same != all.end())
      return invalid(all.size(),
                     fmt::format("MAC address {} is that of card {} too", ipc::to_text(card.mac), same - all.begin()));
    all.push_back(std::move(card));
  }
  return all;
}

}  // namespace monitor
