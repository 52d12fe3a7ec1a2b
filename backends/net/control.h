// What the driver asks for over the control virtqueue (virtio 1.2, 5.1.6.5), and what it has come to.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/net/offload.h"
#include "backends/net/receive_filter.h"
#include "ipc/error.h"

namespace net {

// Of one driver. A command is a private copy of what the driver wrote: class, command, data.
class Control {
 public:
  // The longest command that makes sense: two full tables of addresses. Longer ones are cut, and refused.
  static constexpr std::size_t kMostBytes = 2 + 2 * (4 + 6 * 1024);

  // `pairs` is at least 1.
  Control(const EthernetAddress& own, std::uint16_t pairs) : own_(own), most_pairs_(pairs) { reset(0); }

  // A new driver, which accepted `features`.
  void reset(std::uint64_t features);

  // The acknowledgement: VIRTIO_NET_OK or VIRTIO_NET_ERR. A command that is refused has changed nothing.
  std::uint8_t execute(std::span<const std::byte> command);

  const ReceiveFilter& filter() const { return filter_; }
  const EthernetAddress& mac() const { return mac_; }     // as the driver has it now
  std::uint16_t pairs() const { return pairs_; }          // that it uses
  const Offloads& offloads() const { return offloads_; }  // of the frames that it receives
  // It shall tell the network where it is (GUEST_ANNOUNCE), until it says that it does.
  bool announce_wanted() const { return announce_; }
  void want_announce() { announce_ = true; }

  // For a migration: what reset() would lose. load() trusts nothing: EINVAL, and nothing has changed. After reset().
  std::vector<std::byte> save() const;
  ipc::Result<> load(std::span<const std::byte> state);

 private:
  bool accepted(unsigned feature) const;
  bool receive_mode(std::uint8_t command, std::span<const std::byte> data);
  bool mac_command(std::uint8_t command, std::span<const std::byte> data);
  bool vlan_command(std::uint8_t command, std::span<const std::byte> data);
  bool set_pairs(std::span<const std::byte> data);
  bool set_offloads(std::span<const std::byte> data);

  const EthernetAddress own_;
  const std::uint16_t most_pairs_;
  std::uint64_t features_ = 0;
  ReceiveFilter filter_;
  EthernetAddress mac_;
  std::uint16_t pairs_ = 1;
  Offloads offloads_;
  bool announce_ = false;
};

}  // namespace net
