// The real network device on a thread of this process, behind a real vhost-user connection; its way out is a stream to
// the test, which is the network.
#pragma once

#include <thread>

#include "backends/net/device.h"
#include "backends/serve/server.h"
#include "backends/telemetry/reader.h"
#include "backends/virtio/features.h"
#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"
#include "tests/support/frames.h"
#include "tests/support/network.h"

namespace conformance {

using support::Bytes;
using support::kCard;
using support::kPeer;
using support::make_frame;
using support::Network;

struct NetFixture {
  struct Setup {
    support::Layout layout = support::Layout::Split;
    std::uint16_t queue_size = 64;
    std::uint64_t features = 0;  // accepted by the driver, beside VERSION_1
    bool cable = false;          // with headers
    std::size_t endless = 0;     // frames of so many bytes come without end, instead of the network's
    net::Policy policy = {};
    ipc::UniqueFd* inflight = nullptr;  // the region, if there is to be one; made if it is empty
  };

  NetFixture() : NetFixture(Setup{}) {}
  explicit NetFixture(const Setup& asked) : setup(asked) {
    for (int i = 0; i < 3; ++i) queues.emplace_back(ram, setup.queue_size, setup.layout);
    auto [ours, theirs] = support::make_stream_pair();
    front_end = std::make_unique<support::FakeFrontEnd>(std::move(ours));
    auto [near, far] = support::make_stream_pair();
    network = std::make_unique<Network>(std::move(near), setup.cable);
    server_ = std::thread([this, socket = std::move(theirs), stream = std::move(far)]() mutable {
      serve(std::move(socket), std::move(stream));
    });
    ready = front_end->greet(ram, features()) && track();
    for (std::uint16_t i = 0; i < 2; ++i) ready = ready && front_end->start(queues[i], i);
    if ((features() & virtio::feature_bit(VIRTIO_NET_F_CTRL_VQ)) != 0) ready = ready && front_end->start(queues[2], 2);
  }
  ~NetFixture() { hang_up(); }

  std::uint64_t features() const {
    return setup.features | virtio::kVersion1 | (setup.layout == support::Layout::Packed ? support::kPackedFeature : 0);
  }
  void hang_up() {
    front_end.reset();
    if (server_.joinable()) server_.join();
  }

  // Has the driver send `frame`, header and frame cut into descriptors of these sizes; the rest is one more.
  void transmit(std::span<const std::byte> frame, const net::Header& header = {}, std::vector<std::size_t> cuts = {}) {
    Bytes all(sizeof header + frame.size());
    std::memcpy(all.data(), &header, sizeof header);
    std::ranges::copy(frame, all.begin() + sizeof header);
    const std::uint64_t place = ram.allocate(all.size());
    std::ranges::copy(all, ram.at(place, all.size()).begin());
    std::vector<support::Descriptor> parts;
    std::size_t at = 0;
    for (const std::size_t cut : cuts) {
      parts.push_back({place + at, static_cast<std::uint32_t>(cut)});
      at += cut;
    }
    if (at < all.size()) parts.push_back({place + at, static_cast<std::uint32_t>(all.size() - at)});
    queues[1].offer(queues[1].link(parts));
    queues[1].kick();
  }
  bool transmitted() { return queues[1].wait_used().has_value(); }

  // Offers a buffer for frames, of descriptors of these sizes. Its place.
  std::uint64_t offer_buffer(std::vector<std::uint32_t> sizes) {
    std::uint32_t all = 0;
    for (const std::uint32_t size : sizes) all += size;
    const std::uint64_t place = ram.allocate(all);
    std::vector<support::Descriptor> parts;
    std::uint64_t at = place;
    for (const std::uint32_t size : sizes) {
      parts.push_back({at, size, support::kWrite});
      at += size;
    }
    queues[0].offer(queues[0].link(parts));
    queues[0].kick();
    return place;
  }
  // The next frame, of one buffer at `place`.
  std::optional<Bytes> received(std::uint64_t place) {
    const auto used = queues[0].wait_used();
    if (!used || used->length < sizeof(net::Header)) return std::nullopt;
    last_header = ram.object<net::Header>(place);
    const auto bytes = ram.at(place + sizeof(net::Header), used->length - sizeof(net::Header));
    return Bytes(bytes.begin(), bytes.end());
  }

  // Has the control queue carry a command out. The acknowledgement.
  std::uint8_t command(std::initializer_list<std::uint8_t> bytes) {
    const std::uint64_t place = ram.allocate(bytes.size() + 1);
    std::ranges::copy(std::as_bytes(std::span(bytes.begin(), bytes.size())), ram.at(place, bytes.size()).begin());
    const std::uint64_t answer = place + bytes.size();
    ram.object<std::uint8_t>(answer) = 0xaa;
    const std::vector<support::Descriptor> parts{{place, static_cast<std::uint32_t>(bytes.size())},
                                                 {answer, 1, support::kWrite}};
    queues[2].offer(queues[2].link(parts));
    queues[2].kick();
    (void)queues[2].wait_used();
    return ram.object<std::uint8_t>(answer);
  }

  // What the driver reads of the configuration space; all zero if it is not told.
  virtio_net_config config() {
    constexpr std::uint32_t kBytes = 24;
    const ipc::vhost_user::ConfigHeader request{.offset = 0, .size = kBytes, .flags = 0};
    Bytes payload(sizeof request + kBytes);
    std::memcpy(payload.data(), &request, sizeof request);
    virtio_net_config told{};
    if (!front_end->send(static_cast<std::uint32_t>(ipc::vhost_user::Request::GetConfig), payload)) return told;
    const auto answer = front_end->receive();
    if (answer && answer->payload.size() == payload.size())
      std::memcpy(&told, answer->payload.data() + sizeof request, kBytes);
    return told;
  }
  // The status has `bits` within a second; or not.
  bool status_becomes(std::uint16_t bits) {
    for (int tries = 0; tries < 100; ++tries) {
      if (config().status == bits) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::uint64_t counted(std::uint16_t ring, std::size_t counter) const {
    return telemetry::Reader::attach(segment->file())->read()[ring].counters[counter];
  }
  std::uint64_t dropped(std::uint16_t ring, net::Drop why) const { return counted(ring, net::index_of(why)); }

  const Setup setup;
  support::GuestRam ram{8 << 20};
  std::vector<support::FakeQueue> queues;
  std::unique_ptr<support::FakeFrontEnd> front_end;
  std::unique_ptr<Network> network;
  ipc::Result<telemetry::Segment> segment = telemetry::Segment::create({}, 3, net::kCounterNames);
  net::Header last_header{};  // of the frame received last
  bool ready = false;
  ipc::Result<> outcome;  // of the server, after hang_up()

 private:
  bool track() {
    using ipc::vhost_user::Request;
    if (setup.inflight == nullptr) return true;
    ipc::vhost_user::Inflight layout{};
    layout.queues = 3;
    layout.queue_size = setup.queue_size;
    if (!front_end->send(Request::GetInflightFd, layout)) return false;
    auto answer = front_end->receive();
    const auto given = answer ? answer->as<ipc::vhost_user::Inflight>() : std::nullopt;
    if (!given || answer->fds.size() != 1) return false;
    if (!*setup.inflight) *setup.inflight = std::move(answer->fds[0]);
    const int fd = setup.inflight->get();
    return front_end->ask(Request::SetInflightFd, *given, std::span(&fd, 1));
  }
  void serve(ipc::UniqueFd socket, ipc::UniqueFd stream) {
    outcome = [&]() -> ipc::Result<> {
      std::vector<std::unique_ptr<net::Link>> links;
      links.push_back(setup.endless != 0 ? net::make_null_link(setup.endless)
                                         : TRY(net::make_stream_link(std::move(stream), setup.cable)));
      auto device =
          TRY(net::Device::create(std::move(links), setup.cable ? net::Abilities::Kernel : net::Abilities::Frames,
                                  {.mac = kCard, .policy = setup.policy, .telemetry = &*segment}));
      auto server = TRY(serve::Server::create(std::move(device), virtio::Sealing::Required, {}));
      auto ended = TRY(server->run(std::move(socket)));
      if (ended.broken) return std::unexpected(std::move(*ended.broken));
      return {};
    }();
  }
  std::thread server_;
};

}  // namespace conformance
