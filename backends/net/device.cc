#include "backends/net/device.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <bit>

#include "ipc/clock.h"
#include "ipc/eventfd.h"
#include "ipc/vhost_user.h"
#include "sandbox/policy/net.h"

namespace net {

using ipc::Result;
using virtio::feature_bit;

namespace {

constexpr std::uint32_t kSpeed = 10'000;  // Mbit/s: what a tap says of itself
constexpr std::uint8_t kFullDuplex = 1;
constexpr unsigned kMostCommands = 64;  // of one look at the control queue

constexpr std::uint64_t bits(std::initializer_list<unsigned> features) {
  std::uint64_t all = 0;
  for (const unsigned feature : features) all |= feature_bit(feature);
  return all;
}

constexpr std::uint64_t kAlways =
    bits({VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_CTRL_VQ,
          VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_MAC_ADDR,
          VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_SPEED_DUPLEX});
constexpr std::uint64_t kChecksums =
    bits({VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS});
constexpr std::uint64_t kTcp =
    kChecksums | bits({VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_TSO4,
                       VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_ECN});
constexpr std::uint64_t kKernel = kTcp | bits({VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_GUEST_UFO});

constexpr std::uint64_t kLongUdp = bits({VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6});

std::uint64_t features_of(std::span<const std::unique_ptr<Link>> links, Abilities abilities, const Options& options) {
  std::uint64_t features = kAlways;
  if (options.pairs > 1) features |= feature_bit(VIRTIO_NET_F_MQ);
  if (!links.empty() && std::ranges::all_of(links, [](const auto& link) { return link->long_udp(); }))
    features |= kLongUdp;
  switch (abilities) {
    case Abilities::Frames:
      return features;
    case Abilities::Tcp:
      return features | kTcp;
    case Abilities::Kernel:
      return features | kKernel;
  }
  return features;
}

Result<> check(const Options& options, std::size_t links) {
  const auto wrong = [](std::string text) { return ipc::failure(EINVAL, std::move(text)); };
  if (options.pairs == 0 || options.pairs > kMostPairs)
    return wrong(fmt::format("{} pairs of queues: 1 to {} is right", options.pairs, kMostPairs));
  if (options.manner.threads == 0 || options.manner.threads > options.pairs)
    return wrong(fmt::format("{} threads: 1 to {}, the number of pairs of queues, is right", options.manner.threads,
                             options.pairs));
  if (options.mtu < kLeastMtu) return wrong(fmt::format("MTU {}: {} to 65535 is right", options.mtu, kLeastMtu));
  if (options.mac.is_multicast())
    return wrong(fmt::format("MAC address {}: it is a multicast address", to_text(options.mac)));
  if (links > options.pairs) return wrong(fmt::format("{} ways out for {} pairs of queues", links, options.pairs));
  if (links < options.pairs && options.pairs > 1 && options.manner.threads > 1)
    return wrong("several threads need a way out for each pair of queues");
  const auto most = Policy::kMostAddresses;
  if (options.policy.ipv4.size() > most || options.policy.ipv6.size() > most)
    return wrong(fmt::format("at most {} addresses of each kind are right", most));
  return {};
}

}  // namespace

Result<std::unique_ptr<Device>> Device::create(std::vector<std::unique_ptr<Link>> links, Abilities abilities,
                                               const Options& options) {
  TRY(check(options, links.size()));
  ipc::UniqueFd attention(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!attention) return ipc::system_failure("eventfd");
  std::unique_ptr<Device> device(new Device(std::move(attention), std::move(links), abilities, options));
  if (options.telemetry == nullptr) {
    device->counters_ = TRY(telemetry::Segment::create({}, options.rings(), kCounterNames));
    device->options_.telemetry = &*device->counters_;
  }
  std::uint16_t thread = 0;
  const serve::MakeGroup make = [&]() -> Result<std::unique_ptr<serve::Group>> {
    return TRY(QueueGroup::create(device->card_, device->options_, thread++));
  };
  device->groups_ = TRY(serve::Groups::create(make, options.manner));
  serve::Engine& engine = device->groups_->main().engine();
  TRY(engine.set_file(engine.own_slot(kAttention), device->card_.attention));
  engine.watch(engine.own_slot(kAttention), {.op = serve::Op::Own});
  return device;
}

Device::Device(ipc::UniqueFd attention, std::vector<std::unique_ptr<Link>> links, Abilities abilities,
               const Options& options)
    : options_(options),
      card_{.links = std::move(links),
            .control = Control(options.mac, options.pairs),
            .guard = Guard(options.policy, options.mac, ipc::monotonic_ns()),
            .sent = {},
            .limiter = options.limiter,
            .attention = std::move(attention)},
      features_(features_of(card_.links, abilities, options)),
      command_(Control::kMostBytes + 1) {
  std::ranges::copy(options.mac.bytes, config_.mac);
  config_.max_virtqueue_pairs = options.pairs;
  config_.mtu = options.mtu;
  config_.speed = kSpeed;
  config_.duplex = kFullDuplex;
  accept(0);
}

std::uint64_t Device::protocol_features() const {
  return ipc::vhost_user::bit(ipc::vhost_user::ProtocolFeature::Rarp) |
         ipc::vhost_user::bit(ipc::vhost_user::ProtocolFeature::Mtu);
}

// 5.1.4.1: nothing in it is for a modern driver to write.
Result<> Device::configure(std::uint32_t offset, std::span<const std::byte> bytes) {
  return ipc::failure(
      EINVAL, fmt::format("virtio-net: write of {} bytes at {} of the configuration space", bytes.size(), offset));
}

void Device::accept(std::uint64_t features) {
  accepted_ = features;
  card_.control.reset(features);
  card_.sent = offloads_of_device(features);
  card_.mergeable = accepted(VIRTIO_NET_F_MRG_RXBUF);
  for (const auto& link : card_.links) link->set_offloads(card_.control.offloads());
  update_status();
}

void Device::forget_front_end() {
  config_.mtu = options_.mtu;
  accept(0);
}

// 5.1.2: behind all pairs that there are for a driver that knows of several, otherwise behind the first.
bool Device::is_control(std::uint16_t index) const {
  return accepted(VIRTIO_NET_F_CTRL_VQ) && index == (accepted(VIRTIO_NET_F_MQ) ? 2 * options_.pairs : 2);
}

void Device::on(std::uint16_t index, const std::function<void(QueueGroup&)>& work) {
  groups_->on((index / 2u) % options_.manner.threads,
              [&](serve::Group& group) { work(static_cast<QueueGroup&>(group)); });
}

void Device::on_all(const std::function<void(QueueGroup&)>& work) {
  for (std::size_t i = 0; i < groups_->threads(); ++i)
    groups_->on(i, [&](serve::Group& group) { work(static_cast<QueueGroup&>(group)); });
}

Result<> Device::start(std::uint16_t index, virtio::Vring& ring) {
  if (is_control(index)) {
    TRY(static_cast<QueueGroup&>(groups_->main()).watch_control(index, ring.kick()));
    control_ring_ = &ring;
    control_index_ = index;
    ipc::signal(card_.attention);  // the driver may have kicked before we watched
    return {};
  }
  if (index / 2 >= options_.pairs) return {};  // a ring that no feature has given a meaning: nobody serves it
  Result<> started;
  on(index, [&](QueueGroup& group) { started = group.start(index, ring); });
  TRY(std::move(started));
  if (index % 2 == 0) receiving_rings_ |= std::uint64_t{1} << (index / 2);
  follow_driver();
  // A ring that goes on where another process left it: switches are told that the card is here now.
  if (index == 0 && !ring.queue().fresh()) {
    send_rarp(card_.control.mac());
    if (accepted(VIRTIO_NET_F_GUEST_ANNOUNCE)) card_.control.want_announce();
    ipc::signal(card_.attention);  // to tell the driver, which knows more addresses than we do
  }
  return {};
}

void Device::stop(std::uint16_t index) {
  if (control_ring_ != nullptr && index == control_index_) {
    static_cast<QueueGroup&>(groups_->main()).unwatch_control(index);
    control_ring_ = nullptr;
    return;
  }
  if (index / 2 >= options_.pairs) return;
  on(index, [&](QueueGroup& group) { group.stop(index); });
  if (index % 2 == 0) receiving_rings_ &= ~(std::uint64_t{1} << (index / 2));
  follow_driver();
}

void Device::suspend(std::uint16_t index) {
  if (control_ring_ != nullptr && index == control_index_) return;  // it is always at rest
  if (index / 2 < options_.pairs) on(index, [&](QueueGroup& group) { group.suspend(index); });
}

// 5.1.6.5.5: frames come by the pairs that the driver uses, of those that it has. Where a front end keeps the control
// queue for itself it starts just those.
void Device::follow_driver() {
  for (const auto& link : card_.links) link->set_offloads(card_.control.offloads());
  auto pairs = static_cast<std::uint16_t>(std::max(1, std::countr_one(receiving_rings_)));
  if (control_ring_ != nullptr) pairs = std::min(pairs, card_.control.pairs());
  if (pairs == card_.receiving) return;
  on_all([](QueueGroup& group) { group.forget_links(); });
  card_.receiving = pairs;
  on_all([](QueueGroup& group) { static_cast<void>(group.watch_links()); });  // it had room for them before
}

Result<bool> Device::attend() {
  const std::uint16_t before = config_.status;
  if (card_.link_lost.exchange(false, std::memory_order_relaxed)) {
    TRY(set_links({}));
    if (lost_) lost_();
  }
  if (control_ring_ != nullptr && !control_ring_->failed()) serve_control();
  update_status();
  return config_.status != before;
}

void Device::serve_control() {
  virtio::Queue& queue = control_ring_->queue();
  virtio::Chain chain;
  bool more = true;
  for (unsigned i = 0; i < kMostCommands && more; ++i) {
    const auto head = queue.next(chain);
    if (!head) control_ring_->fail();
    more = head && head->has_value();
    if (more) execute(**head, chain);
  }
  kept_.store(card_.control.save());  // before the driver counts on it
  control_ring_->publish();
  follow_driver();
  if (control_ring_->failed()) return;
  // Others have their turn before the rest.
  if (more || queue.request_kicks()) ipc::signal(card_.attention);
}

// 5.1.6.5: class, command and data, cut into buffers anywhere, then a byte for the acknowledgement.
void Device::execute(const virtio::Head& head, const virtio::Chain& chain) {
  if (!head.chain || chain.writable_bytes() == 0) return control_ring_->queue().complete(head.index, 0);
  std::size_t bytes = 0;
  for (const ipc::GuestBuffer& buffer : chain.readable()) bytes += buffer.copy_to(std::span(command_).subspan(bytes));
  const std::uint8_t answer = card_.control.execute(std::span(command_).first(bytes));
  chain.writable().front().fill(std::byte{answer});
  control_ring_->queue().complete(head.index, 1);
}

bool Device::update_status() {
  const std::uint16_t before = config_.status;
  config_.status = card_.link_up() ? VIRTIO_NET_S_LINK_UP : 0;
  if (card_.control.announce_wanted()) config_.status |= VIRTIO_NET_S_ANNOUNCE;
  return config_.status != before;
}

bool Device::plug(bool in) {
  card_.plugged = in;
  return update_status();
}

void Device::set_policy(const Policy& policy) {
  card_.guard.set(policy, ipc::monotonic_ns());
}

Result<bool> Device::set_links(std::vector<std::unique_ptr<Link>> links) {
  on_all([](QueueGroup& group) { group.forget_links(); });
  card_.link_lost.store(false, std::memory_order_relaxed);  // of those that were
  card_.links = std::move(links);
  for (const auto& link : card_.links) link->set_offloads(card_.control.offloads());
  Result<> watched;
  on_all([&](QueueGroup& group) {
    if (auto one = group.watch_links(); !one) watched = std::move(one);
  });
  TRY(std::move(watched));
  return update_status();
}

Result<> Device::keep_in(std::span<std::byte> region) {
  const virtio::KeptState kept(region);
  const auto state = kept.load();
  if (!state.empty()) TRY(card_.control.restore(state));
  kept_ = kept;
  for (const auto& link : card_.links) link->set_offloads(card_.control.offloads());
  update_status();
  return {};
}

Result<> Device::announce(std::uint64_t mac) {
  EthernetAddress address;
  for (std::size_t i = 0; i < address.bytes.size(); ++i) address.bytes[i] = static_cast<std::uint8_t>(mac >> (8 * i));
  if (address.is_multicast()) return ipc::failure(EINVAL, "vhost-user: SEND_RARP of a multicast address");
  if (card_.guard.policy().own_mac_only && address != card_.guard.own())
    return ipc::failure(EPERM, fmt::format("vhost-user: SEND_RARP of {}, which is not this card", to_text(address)));
  send_rarp(address);
  return {};
}

Result<> Device::set_mtu(std::uint64_t mtu) {
  if (mtu < kLeastMtu || mtu > 65535) return ipc::failure(EINVAL, fmt::format("vhost-user: MTU {}", mtu));
  config_.mtu = static_cast<std::uint16_t>(mtu);
  return {};
}

// RFC 903: a request for one's own address, which bridges and switches learn from.
void Device::send_rarp(const EthernetAddress& mac) {
  if (!card_.link_up()) return;
  std::array<std::uint8_t, 60> frame{};
  std::fill_n(frame.begin(), 6, std::uint8_t{0xff});
  std::ranges::copy(mac.bytes, frame.begin() + 6);
  constexpr std::array<std::uint8_t, 10> kRequest{0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
  std::ranges::copy(kRequest, frame.begin() + 12);
  std::ranges::copy(mac.bytes, frame.begin() + 22);  // sender
  std::ranges::copy(mac.bytes, frame.begin() + 32);  // target
  const iovec part{frame.data(), frame.size()};
  // Where it cannot go now it is lost, as any frame may be.
  Link& link = *card_.links.front();
  if (link.flush() == Sent::Yes) link.send({.header = {}, .parts = std::span(&part, 1), .bytes = frame.size()});
}

Result<sandbox::Filter> Device::filter(sandbox::Role role, serve::Group& group, sandbox::Slots slots) {
  serve::Engine& engine = group.engine();
  slots.set(sandbox::Slot::Ring, engine.fd());
  return sandbox::Filter::compile(sandbox::net_policy(role, engine.is_ring()), slots);
}

std::string Device::describe() {
  return fmt::format("{}, {} pair{} of queues", groups_->main().engine().is_ring() ? "io_uring" : "epoll",
                     options_.pairs, options_.pairs == 1 ? "" : "s");
}

}  // namespace net
