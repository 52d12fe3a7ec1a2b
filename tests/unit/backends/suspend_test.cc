// GET_VRING_BASE where requests may stay in flight (protocol feature GET_VRING_BASE_INFLIGHT), over a device
// that holds all of them back.
#include <vector>

#include "backends/virtio/session.h"
#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"

using ipc::vhost_user::Inflight;
using ipc::vhost_user::Message;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::Request;
using ipc::vhost_user::VringState;
using support::Layout;

namespace {

class HoldingDevice final : public virtio::Device {
 public:
  std::uint64_t features() const override { return 0; }
  std::uint16_t queues() const override { return 1; }
  std::span<const std::byte> config() const override { return {}; }
  ipc::Result<> configure(std::uint32_t, std::span<const std::byte>) override { return ipc::failure(EINVAL, "none"); }
  void accept(std::uint64_t) override {}
  ipc::Result<> start(std::uint16_t, virtio::Vring& ring) override {
    ring_ = &ring;
    take();
    return {};
  }
  void stop(std::uint16_t) override { ring_ = nullptr; }
  void suspend(std::uint16_t) override {
    for (const std::uint16_t head : held) ring_->queue().leave(head);
    held.clear();
  }

  void take() {
    while (true) {
      const auto head = ring_->queue().next(chain_);
      if (!head || !*head) return;
      held.push_back((**head).index);
      addresses.push_back(reinterpret_cast<std::uintptr_t>(chain_.readable()[0].as_iovec().iov_base) & 0xfff);
    }
  }
  void complete_all() {
    for (const std::uint16_t head : held) ring_->queue().complete(head, 0);
    held.clear();
    ring_->publish();
  }

  std::vector<std::uint16_t> held;
  std::vector<std::uint64_t> addresses;  // in their pages, of all that was ever taken

 private:
  virtio::Vring* ring_ = nullptr;
  virtio::Chain chain_;
};

// A front end that does not wait for answers, as the session is handed each message directly.
struct Fixture {
  Fixture(Layout layout, bool inflight) : queue(ram, 8, layout) {
    const auto bit = [](ProtocolFeature feature) { return ipc::vhost_user::bit(feature); };
    const std::uint64_t protocol = bit(ProtocolFeature::InflightShmfd) |
                                   (inflight ? bit(ProtocolFeature::GetVringBaseInflight) : std::uint64_t{0});
    REQUIRE(send(Request::SetProtocolFeatures, protocol));
    REQUIRE(send(Request::SetFeatures, std::uint64_t{1} << 32 | ipc::vhost_user::kProtocolFeaturesBit |
                                           (queue.packed() ? support::kPackedFeature : 0)));
    struct {
      ipc::vhost_user::MemoryTableHeader header{1, 0};
      ipc::vhost_user::MemoryRegion region;
    } table{.region = ram.region()};
    REQUIRE(send(Request::SetMemTable, table, &ram.fd()));
    REQUIRE(send(Request::SetInflightFd, Inflight{4096, 0, 1, 8, 0}, &region));
  }
  template <class T>
  bool send(Request request, const T& payload, const ipc::UniqueFd* fd = nullptr) {
    Message message;
    message.request = static_cast<std::uint32_t>(request);
    const auto bytes = ipc::vhost_user::payload_of(payload);
    message.payload.assign(bytes.begin(), bytes.end());
    if (fd != nullptr) message.fds.emplace_back(::fcntl(fd->get(), F_DUPFD_CLOEXEC, 0));
    return session.handle(std::move(message)).has_value();
  }
  void start(std::uint32_t base) {
    REQUIRE(send(Request::SetVringNum, VringState{0, 8}));
    REQUIRE(send(Request::SetVringBase, VringState{0, base}));
    REQUIRE(send(Request::SetVringAddr, support::FakeFrontEnd::addresses(queue, 0)));
    REQUIRE(send(Request::SetVringKick, std::uint64_t{0}, &queue.kick_fd()));
    REQUIRE(send(Request::SetVringEnable, VringState{0, 1}));
  }
  std::optional<std::uint32_t> base() {
    const auto reply =
        ipc::vhost_user::Socket(ipc::UniqueFd(::fcntl(sockets.front_end.get(), F_DUPFD_CLOEXEC, 0))).receive();
    if (!reply || !*reply) return std::nullopt;
    const auto state = (*reply)->as<VringState>();
    return state ? std::optional(state->num) : std::nullopt;
  }

  support::GuestRam ram{1 << 20};
  support::FakeQueue queue;
  ipc::UniqueFd region = support::make_memfd(4096, support::kSeals);
  support::SocketPair sockets = support::make_stream_pair();
  ipc::vhost_user::Socket socket{std::move(sockets.back_end)};
  HoldingDevice device;
  virtio::Session session{socket, device};
};

}  // namespace

SCENARIO("suspend: requests that nobody has begun stay in flight over a stop", "[session][inflight]") {
  Fixture fixture(GENERATE(Layout::Split, Layout::Packed), true);
  const std::uint64_t page = fixture.ram.allocate(4096, 4096);
  for (std::uint64_t i = 0; i < 3; ++i)
    fixture.queue.offer(fixture.queue.link(std::vector<support::Descriptor>{{page + 16 * i, 16}}));
  fixture.start(fixture.queue.base());
  REQUIRE(fixture.device.held.size() == 3);

  REQUIRE(fixture.send(Request::GetVringBase, VringState{0, 0}));
  CHECK_FALSE(fixture.session.holding());
  const auto base = fixture.base();
  REQUIRE(base);
  CHECK_FALSE(fixture.queue.wait_used(std::chrono::milliseconds(0)));

  WHEN("the ring is started again") {
    fixture.start(*base);
    THEN("they come again, in their order, and complete once") {
      CHECK(fixture.device.addresses == std::vector<std::uint64_t>{0, 16, 32, 0, 16, 32});
      fixture.device.complete_all();
      for (int i = 0; i < 3; ++i) CHECK(fixture.queue.wait_used(std::chrono::milliseconds(0)));
      CHECK_FALSE(fixture.queue.wait_used(std::chrono::milliseconds(0)));
    }
  }
  fixture.session.end();
}

SCENARIO("suspend: without the feature a stop waits for all of them", "[session][inflight]") {
  Fixture fixture(GENERATE(Layout::Split, Layout::Packed), false);
  fixture.queue.offer(fixture.queue.link(std::vector<support::Descriptor>{{fixture.ram.allocate(4096, 4096), 16}}));
  fixture.start(fixture.queue.base());
  REQUIRE(fixture.device.held.size() == 1);
  REQUIRE(fixture.send(Request::GetVringBase, VringState{0, 0}));
  CHECK(fixture.session.holding());
  CHECK_FALSE(fixture.base());
  fixture.device.complete_all();
  REQUIRE(fixture.session.resume());
  CHECK(fixture.base());
  CHECK(fixture.queue.wait_used(std::chrono::milliseconds(0)));
  fixture.session.end();
}

SCENARIO("suspend: the feature needs in-flight tracking", "[session][inflight]") {
  Fixture fixture(Layout::Split, false);
  CHECK_FALSE(fixture.send(Request::SetProtocolFeatures, ipc::vhost_user::bit(ProtocolFeature::GetVringBaseInflight)));
}
