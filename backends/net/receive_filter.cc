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

bool ReceiveFilter::passes(const Frame& frame, const EthernetAddress& own) const {
  if (by_vlan_ && frame.tags > 0 && !vlans_[frame.vlan]) return false;
  if (on(Mode::Promiscuous)) return true;
  const EthernetAddress& to = frame.destination;
  if (to.is_broadcast()) return !on(Mode::NoBroadcast);
  if (to.is_multicast()) return !on(Mode::NoMulticast) && (on(Mode::AllMulticast) || has(multicast_, to));
  return !on(Mode::NoUnicast) && (on(Mode::AllUnicast) || to == own || has(unicast_, to));
}

}  // namespace net
