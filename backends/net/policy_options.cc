#include "backends/net/policy_options.h"

#include <CLI/CLI.hpp>
#include <charconv>

#include "ipc/error.h"

namespace net {
namespace {

// "10,20,untagged".
std::expected<std::bitset<4096>, std::string> parse_vlans(const std::string& text) {
  std::bitset<4096> vlans;
  for (const std::string& word : CLI::detail::split(text, ',')) {
    unsigned vlan = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), vlan);
    const bool number = error == std::errc() && rest == word.data() + word.size() && vlan >= 1 && vlan <= 4094;
    if (!number && word != "untagged")
      return std::unexpected(fmt::format("--vlans={}: any, untagged, or numbers from 1 to 4094 are right", text));
    vlans.set(number ? vlan : 0);
  }
  return vlans;
}

}  // namespace

void add_policy_options(CLI::App& app, PolicyOptions& options) {
  app.add_flag("--own-mac-only", options.own_mac_only,
               "drop what the guest sends in another's name: frames, ARP, neighbour discovery")
      ->group("Policy");
  app.add_option("--address", options.addresses,
                 "an IPv4 or IPv6 address or prefix that the guest may use; with one given, no others. May be repeated")
      ->type_name("ADDR")
      ->group("Policy");
  app.add_option("--vlans", options.vlans, "VLANs that frames may be in, both ways: any, or numbers and untagged (any)")
      ->type_name("LIST")
      ->group("Policy");
  app.add_option("--flood", options.flood, "broadcasts and multicasts a second from the guest; 0: no limit")
      ->type_name("N")
      ->group("Policy");
}

std::expected<Policy, std::string> policy_of(const PolicyOptions& options) {
  Policy policy{.own_mac_only = options.own_mac_only, .addresses_only = !options.addresses.empty()};
  for (const std::string& text : options.addresses) {
    if (const auto ipv4 = parse_ipv4(text))
      policy.ipv4.push_back(*ipv4);
    else if (const auto ipv6 = parse_ipv6(text))
      policy.ipv6.push_back(*ipv6);
    else
      return std::unexpected(
          fmt::format("--address={}: an address or prefix is right, as 10.0.0.5 or fd00::/64", text));
  }
  if (!options.vlans.empty() && options.vlans != "any") {
    policy.vlans = TRY(parse_vlans(options.vlans));
    policy.vlan_rule = options.vlans == "untagged" ? VlanRule::UntaggedOnly : VlanRule::Listed;
  }
  policy.flood.per_second = options.flood;
  return policy;
}

}  // namespace net
