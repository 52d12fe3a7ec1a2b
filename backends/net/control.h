// What the driver asks for over the control virtqueue (virtio 1.2, 5.1.6.5), and what it has come to.
#pragma once

#include <cstdint>
#include <optional>
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

  const ReceiveFilter& filter() const { return choices_.filter; }
  const EthernetAddress& mac() const { return choices_.mac; }  // as the driver has it now
  std::uint16_t pairs() const { return choices_.pairs; }       // that it uses
  const Offloads& offloads() const { return offloads_; }       // of the frames that it receives
  // It shall tell the network where it is (GUEST_ANNOUNCE), until it says that it does.
  bool announce_wanted() const { return choices_.announce; }
  void want_announce() { choices_.announce = true; }

  // For another process: what reset() would lose. What is given is not trusted: EINVAL, and nothing has changed.
  std::vector<std::byte> save() const;
  // Takes it up with the next reset(), as a migration brings it before the features; or now, for the features that
  // were accepted.
  ipc::Result<> load(std::span<const std::byte> state);
  ipc::Result<> restore(std::span<const std::byte> state);

 private:
  struct Choices {  // the driver's
    ReceiveFilter filter;
    EthernetAddress mac;
    std::uint16_t pairs = 1;
    std::uint64_t offloads = 0;  // feature bits
    bool announce = false;
  };
  ipc::Result<Choices> parse(std::span<const std::byte> state) const;
  void apply(Choices choices);
  bool accepted(unsigned feature) const;
  bool receive_mode(std::uint8_t command, std::span<const std::byte> data);
  bool mac_command(std::uint8_t command, std::span<const std::byte> data);
  bool vlan_command(std::uint8_t command, std::span<const std::byte> data);
  bool set_pairs(std::span<const std::byte> data);
  bool set_offloads(std::span<const std::byte> data);

  const EthernetAddress own_;
  const std::uint16_t most_pairs_;
  std::uint64_t features_ = 0;
  Choices choices_;
  Offloads offloads_;              // of choices_
  std::optional<Choices> loaded_;  // for the next reset()
};

}  // namespace net
