#include "backends/net/control.h"

#include <cstring>
#include <utility>

#include "backends/virtio/device.h"
#include "backends/virtio/features.h"

namespace net {
namespace {

using ipc::Result;
using virtio::feature_bit;

// Little-endian, as is every machine that this runs on. The caller has seen that the data has these bytes.
template <class T>
T value_at(std::span<const std::byte> data, std::size_t offset = 0) {
  T value;
  std::memcpy(&value, data.data() + offset, sizeof value);
  return value;
}

// 5.1.6.5.2: a table is a 32-bit number of addresses, and these. Takes it off the front of `data`.
std::optional<std::vector<EthernetAddress>> take_table(std::span<const std::byte>& data) {
  if (data.size() < sizeof(std::uint32_t)) return std::nullopt;
  const auto entries = value_at<std::uint32_t>(data);
  data = data.subspan(sizeof entries);
  if (entries > data.size() / sizeof(EthernetAddress)) return std::nullopt;
  std::vector<EthernetAddress> addresses(entries);
  if (entries > 0) std::memcpy(addresses.data(), data.data(), entries * sizeof(EthernetAddress));
  data = data.subspan(entries * sizeof(EthernetAddress));
  return addresses;
}

// What GUEST_OFFLOADS_SET may name.
constexpr std::uint64_t kGuestOffloads = feature_bit(VIRTIO_NET_F_GUEST_CSUM) | feature_bit(VIRTIO_NET_F_GUEST_TSO4) |
                                         feature_bit(VIRTIO_NET_F_GUEST_TSO6) | feature_bit(VIRTIO_NET_F_GUEST_ECN) |
                                         feature_bit(VIRTIO_NET_F_GUEST_UFO) | feature_bit(VIRTIO_NET_F_GUEST_USO4) |
                                         feature_bit(VIRTIO_NET_F_GUEST_USO6);

// What another process is given beside features, which say the rest.
struct State {
  std::uint32_t version;
  std::uint16_t pairs;
  std::array<std::uint8_t, 6> mac;
  std::uint64_t offloads;
  std::uint8_t announce;
  std::uint8_t padding;
  ReceiveFilter::Saved filter;
};
constexpr std::uint32_t kStateVersion = 2;
static_assert(std::is_trivially_copyable_v<State> && sizeof(State) <= virtio::kMaxState);

}  // namespace

bool Control::accepted(unsigned feature) const {
  return (features_ & feature_bit(feature)) != 0;
}

void Control::reset(std::uint64_t features) {
  features_ = features;
  apply(loaded_ ? *std::exchange(loaded_, std::nullopt)
                : Choices{.filter = {}, .mac = own_, .offloads = kGuestOffloads});
}

std::uint8_t Control::execute(std::span<const std::byte> command) {
  if (command.size() < 2 || command.size() > kMostBytes) return VIRTIO_NET_ERR;
  const auto kind = static_cast<std::uint8_t>(command[0]);
  const auto what = static_cast<std::uint8_t>(command[1]);
  const auto data = command.subspan(2);
  bool done = false;
  switch (kind) {
    case VIRTIO_NET_CTRL_RX:
      done = receive_mode(what, data);
      break;
    case VIRTIO_NET_CTRL_MAC:
      done = mac_command(what, data);
      break;
    case VIRTIO_NET_CTRL_VLAN:
      done = vlan_command(what, data);
      break;
    case VIRTIO_NET_CTRL_ANNOUNCE:
      done = accepted(VIRTIO_NET_F_GUEST_ANNOUNCE) && what == VIRTIO_NET_CTRL_ANNOUNCE_ACK && data.empty();
      if (done) choices_.announce = false;
      break;
    case VIRTIO_NET_CTRL_MQ:
      done = what == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && set_pairs(data);
      break;
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
      done = what == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET && set_offloads(data);
      break;
    default:
      break;
  }
  return done ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

bool Control::receive_mode(std::uint8_t command, std::span<const std::byte> data) {
  using Mode = ReceiveFilter::Mode;
  constexpr Mode kModes[] = {Mode::Promiscuous, Mode::AllMulticast, Mode::AllUnicast,
                             Mode::NoMulticast, Mode::NoUnicast,    Mode::NoBroadcast};
  if (command >= std::size(kModes) || data.size() != 1) return false;
  const bool basic = command <= VIRTIO_NET_CTRL_RX_ALLMULTI;
  if (!accepted(basic ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA)) return false;
  choices_.filter.set(kModes[command], data[0] != std::byte{0});
  return true;
}

bool Control::mac_command(std::uint8_t command, std::span<const std::byte> data) {
  if (command == VIRTIO_NET_CTRL_MAC_ADDR_SET) {
    if (!accepted(VIRTIO_NET_F_CTRL_MAC_ADDR) || data.size() != sizeof(EthernetAddress)) return false;
    const auto mac = value_at<EthernetAddress>(data);
    if (mac.is_multicast()) return false;
    choices_.mac = mac;
    return true;
  }
  if (command != VIRTIO_NET_CTRL_MAC_TABLE_SET || !accepted(VIRTIO_NET_F_CTRL_RX)) return false;
  const auto unicast = take_table(data);
  const auto multicast = unicast ? take_table(data) : std::nullopt;
  if (!multicast || !data.empty()) return false;
  choices_.filter.set_tables(*unicast, *multicast);
  return true;
}

bool Control::vlan_command(std::uint8_t command, std::span<const std::byte> data) {
  if (!accepted(VIRTIO_NET_F_CTRL_VLAN) || command > VIRTIO_NET_CTRL_VLAN_DEL || data.size() != 2) return false;
  const auto vlan = value_at<std::uint16_t>(data);
  if (vlan >= 4096) return false;
  choices_.filter.set_vlan(vlan, command == VIRTIO_NET_CTRL_VLAN_ADD);
  return true;
}

bool Control::set_pairs(std::span<const std::byte> data) {
  if (!accepted(VIRTIO_NET_F_MQ) || data.size() != 2) return false;
  const auto pairs = value_at<std::uint16_t>(data);
  if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > most_pairs_) return false;
  choices_.pairs = pairs;
  return true;
}

bool Control::set_offloads(std::span<const std::byte> data) {
  if (!accepted(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || data.size() != sizeof(std::uint64_t)) return false;
  const auto wanted = value_at<std::uint64_t>(data);
  if ((wanted & ~(features_ & kGuestOffloads)) != 0) return false;  // 5.1.6.5.6.2: nothing that was not negotiated
  choices_.offloads = wanted;
  offloads_ = offloads_of_driver(wanted);
  return true;
}

std::vector<std::byte> Control::save() const {
  State state;
  std::memset(&state, 0, sizeof state);  // what is between the fields too
  state.version = kStateVersion;
  state.pairs = choices_.pairs;
  state.mac = choices_.mac.bytes;
  state.offloads = choices_.offloads;
  state.announce = choices_.announce ? 1 : 0;
  state.filter = choices_.filter.save();
  const auto bytes = std::as_bytes(std::span(&state, 1));
  return {bytes.begin(), bytes.end()};
}

Result<Control::Choices> Control::parse(std::span<const std::byte> bytes) const {
  State state{};
  if (bytes.size() == sizeof state) std::memcpy(&state, bytes.data(), sizeof state);
  const EthernetAddress mac{state.mac};
  auto filter = ReceiveFilter::of(state.filter);
  if (state.version != kStateVersion || state.pairs == 0 || state.pairs > most_pairs_ || state.announce > 1 ||
      mac.is_multicast() || (state.offloads & ~kGuestOffloads) != 0 || !filter)
    return ipc::failure(EINVAL,
                        fmt::format("virtio-net: device state of {} bytes, version {}", bytes.size(), state.version));
  return Choices{.filter = std::move(*filter),
                 .mac = mac,
                 .pairs = state.pairs,
                 .offloads = state.offloads,
                 .announce = state.announce == 1};
}

// Offloads that were not negotiated are none.
void Control::apply(Choices choices) {
  choices_ = std::move(choices);
  choices_.offloads &= features_;
  offloads_ = offloads_of_driver(choices_.offloads);
}

Result<> Control::load(std::span<const std::byte> bytes) {
  loaded_ = TRY(parse(bytes));
  return {};
}

Result<> Control::restore(std::span<const std::byte> bytes) {
  apply(TRY(parse(bytes)));
  return {};
}

}  // namespace net
