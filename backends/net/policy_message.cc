#include "backends/net/policy_message.h"

namespace net {
namespace {

using ipc::Result;
namespace schema = ipc::schema;

template <class Prefix>
void write(const std::vector<Prefix>& prefixes, capnp::List<capnp::Text>::Builder list) {
  for (unsigned i = 0; i < prefixes.size(); ++i) list.set(i, to_text(prefixes[i]));
}

template <class Prefix>
Result<std::vector<Prefix>> read(capnp::List<capnp::Text>::Reader list,
                                 std::optional<Prefix> (*parse)(const std::string& text)) {
  if (list.size() > Policy::kMostAddresses)
    return ipc::failure(
        0, fmt::format("{} addresses, at most {} of each kind are right", list.size(), Policy::kMostAddresses));
  std::vector<Prefix> prefixes;
  for (const auto text : list) {
    const auto prefix = parse(text.cStr());
    if (!prefix) return ipc::failure(0, fmt::format("{}: no address or prefix", text.cStr()));
    prefixes.push_back(*prefix);
  }
  return prefixes;
}

}  // namespace

void write_policy(const Policy& policy, schema::Policy::Builder message) {
  message.setOwnMacOnly(policy.own_mac_only);
  message.setAddressesOnly(policy.addresses_only);
  write(policy.ipv4, message.initIpv4(static_cast<unsigned>(policy.ipv4.size())));
  write(policy.ipv6, message.initIpv6(static_cast<unsigned>(policy.ipv6.size())));
  message.setVlanRule(static_cast<schema::VlanRule>(policy.vlan_rule));
  auto vlans = message.initVlans(static_cast<unsigned>(policy.vlans.count()));
  unsigned next = 0;
  for (std::size_t vlan = 0; vlan < policy.vlans.size(); ++vlan)
    if (policy.vlans[vlan]) vlans.set(next++, static_cast<std::uint16_t>(vlan));
  auto flood = message.initFlood();
  flood.setPerSecond(policy.flood.per_second);
  flood.setBurst(policy.flood.burst);
}

Result<Policy> read_policy(schema::Policy::Reader message) {
  Policy policy{.own_mac_only = message.getOwnMacOnly(), .addresses_only = message.getAddressesOnly()};
  policy.ipv4 = TRY(read<Ipv4Prefix>(message.getIpv4(), parse_ipv4));
  policy.ipv6 = TRY(read<Ipv6Prefix>(message.getIpv6(), parse_ipv6));
  if (message.getVlanRule() > schema::VlanRule::LISTED) return ipc::failure(EINVAL, "unknown rule for VLANs");
  policy.vlan_rule = static_cast<VlanRule>(message.getVlanRule());
  for (const std::uint16_t vlan : message.getVlans()) {
    if (vlan >= policy.vlans.size()) return ipc::failure(EINVAL, fmt::format("VLAN {}", vlan));
    policy.vlans.set(vlan);
  }
  constexpr std::uint64_t kNotGiven = ~std::uint64_t{0};  // the schema's default
  const auto flood = message.getFlood();
  if (flood.getPerSecond() != kNotGiven) policy.flood.per_second = flood.getPerSecond();
  if (flood.getBurst() != kNotGiven) policy.flood.burst = flood.getBurst();
  return policy;
}

}  // namespace net
