#include "backends/net/policy.h"

#include <fmt/format.h>

namespace net {
namespace {

std::string addresses_of(const Policy& policy) {
  std::string text;
  for (const auto& prefix : policy.ipv4) text += " " + to_text(prefix);
  for (const auto& prefix : policy.ipv6) text += " " + to_text(prefix);
  return text.empty() ? " none" : text;
}

std::string vlans_of(const Policy& policy) {
  std::string text;
  for (std::size_t vlan = 0; vlan < policy.vlans.size(); ++vlan)
    if (policy.vlans[vlan]) text += fmt::format(" {}", vlan);
  return text.empty() ? " none" : text;
}

}  // namespace

std::string describe(const Policy& policy) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (policy.own_mac_only) add("own MAC only");
  if (policy.addresses_only) add("addresses" + addresses_of(policy));
  if (policy.vlan_rule == VlanRule::UntaggedOnly) add("untagged only");
  if (policy.vlan_rule == VlanRule::Listed) add("VLANs" + vlans_of(policy));
  if (policy.flood.per_second != 0) add(fmt::format("flood {}/s", policy.flood.per_second));
  return text.empty() ? "none" : text;
}

}  // namespace net
