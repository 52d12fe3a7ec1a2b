#include "backends/net/receive_filter.h"

#include <algorithm>

namespace net {

ReceiveFilter::Table ReceiveFilter::make_table(std::span<const EthernetAddress> addresses) {
  Table table{.addresses = {}, .overflown = addresses.size() > kMostAddresses};
  if (table.overflown) return table;
  table.addresses.assign(addresses.begin(), addresses.end());
  std::ranges::sort(table.addresses);
  return table;
}

bool ReceiveFilter::has(const Table& table, const EthernetAddress& address) {
  return table.overflown || std::ranges::binary_search(table.addresses, address);
}

void ReceiveFilter::set_tables(std::span<const EthernetAddress> unicast, std::span<const EthernetAddress> multicast) {
  unicast_ = make_table(unicast);
  multicast_ = make_table(multicast);
}

ReceiveFilter::Saved ReceiveFilter::save() const {
  Saved saved{};
  saved.modes = static_cast<std::uint8_t>(modes_.to_ulong());
  saved.by_vlan = by_vlan_ ? 1 : 0;
  for (std::size_t i = 0; i < saved.tables.size(); ++i) {
    const Table& table = i == 0 ? unicast_ : multicast_;
    saved.tables[i].overflown = table.overflown ? 1 : 0;
    saved.tables[i].count = static_cast<std::uint8_t>(table.addresses.size());
    std::ranges::transform(table.addresses, saved.tables[i].addresses.begin(), &EthernetAddress::bytes);
  }
  for (std::size_t vlan = 0; vlan < vlans_.size(); ++vlan)
    if (vlans_[vlan]) saved.vlans[vlan / 8] |= static_cast<std::uint8_t>(1u << vlan % 8);
  return saved;
}

std::optional<ReceiveFilter> ReceiveFilter::of(const Saved& saved) {
  if (saved.modes >> kModes != 0 || saved.by_vlan > 1) return std::nullopt;
  ReceiveFilter filter;
  filter.modes_ = saved.modes;
  filter.by_vlan_ = saved.by_vlan == 1;
  for (std::size_t i = 0; i < saved.tables.size(); ++i) {
    const Saved::Table& table = saved.tables[i];
    if (table.overflown > 1 || table.count > kMostAddresses) return std::nullopt;
    std::vector<EthernetAddress> addresses;
    for (std::size_t at = 0; at < table.count; ++at) addresses.push_back({table.addresses[at]});
    Table& made = i == 0 ? filter.unicast_ : filter.multicast_;
    made = make_table(addresses);
    made.overflown = table.overflown == 1;
  }
  for (std::size_t vlan = 0; vlan < filter.vlans_.size(); ++vlan)
    filter.vlans_[vlan] = (saved.vlans[vlan / 8] >> vlan % 8 & 1) != 0;
  return filter;
}

bool ReceiveFilter::passes(const Frame& frame, const EthernetAddress& own) const {
  if (by_vlan_ && frame.tags > 0 && !vlans_[frame.vlan]) return false;
  if (on(Mode::Promiscuous)) return true;
  const EthernetAddress& to = frame.destination;
  if (to.is_broadcast()) return !on(Mode::NoBroadcast);
  if (to.is_multicast()) return !on(Mode::NoMulticast) && (on(Mode::AllMulticast) || has(multicast_, to));
  return !on(Mode::NoUnicast) && (on(Mode::AllUnicast) || to == own || has(unicast_, to));
}

}  // namespace net
