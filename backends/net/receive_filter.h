// What the driver wants to receive (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3). No protection: the guest chooses it.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backends/net/frame.h"

namespace net {

class ReceiveFilter {
 public:
  static constexpr std::size_t kMostAddresses = 64;  // of each table; more: all of that kind pass

  enum class Mode : std::uint8_t { Promiscuous, AllMulticast, AllUnicast, NoMulticast, NoUnicast, NoBroadcast };
  static constexpr std::size_t kModes = 6;

  void set(Mode mode, bool on) { modes_[static_cast<std::size_t>(mode)] = on; }
  void set_tables(std::span<const EthernetAddress> unicast, std::span<const EthernetAddress> multicast);
  // Until the first of these all VLANs pass: a front end may keep the control queue for itself, and nobody tells us of
  // any. `vlan` is below 4096.
  void set_vlan(std::uint16_t vlan, bool passes) {
    by_vlan_ = true;
    vlans_[vlan] = passes;
  }

  bool passes(const Frame& frame, const EthernetAddress& own) const;

  // All of it, for another process.
  struct Saved {
    struct Table {
      std::uint8_t overflown;
      std::uint8_t count;
      std::array<std::array<std::uint8_t, 6>, kMostAddresses> addresses;
    };
    std::uint8_t modes;
    std::uint8_t by_vlan;
    std::array<Table, 2> tables;  // unicast, multicast
    std::array<std::uint8_t, 4096 / 8> vlans;
  };
  Saved save() const;
  // Nothing if it is no such thing.
  static std::optional<ReceiveFilter> of(const Saved& saved);

  friend bool operator==(const ReceiveFilter&, const ReceiveFilter&) = default;

 private:
  struct Table {
    std::vector<EthernetAddress> addresses;  // sorted, kMostAddresses at most
    bool overflown = false;
    friend bool operator==(const Table&, const Table&) = default;
  };
  static Table make_table(std::span<const EthernetAddress> addresses);
  static bool has(const Table& table, const EthernetAddress& address);
  bool on(Mode mode) const { return modes_[static_cast<std::size_t>(mode)]; }

  std::bitset<kModes> modes_{1};  // 5.1.6.5.1: a device starts promiscuous where it has CTRL_RX; and also where not
  Table unicast_;
  Table multicast_;
  bool by_vlan_ = false;
  std::bitset<4096> vlans_;
};

}  // namespace net
