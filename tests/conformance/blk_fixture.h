// The real block device on a thread of this process, behind a real vhost-user connection.
#pragma once

#include <thread>

#include "backends/blk/device.h"
#include "backends/serve/server.h"
#include "tests/support/blk_driver.h"
#include "tests/support/catch.h"

namespace conformance {

// The test runs with each of them.
inline support::Layout any_layout() {
  return GENERATE(support::Layout::Split, support::Layout::Packed);
}

struct BlkFixture {
  struct Setup {
    support::Layout layout = support::Layout::Split;
    std::size_t sectors = 64;
    std::uint16_t queues = 1;
    std::uint16_t queue_size = 16;
    std::uint64_t features = 0;  // accepted by the driver, beside VERSION_1
    blk::Writes writes = blk::Writes::Allowed;
    virtio::Sealing sealing = virtio::Sealing::Required;
    bool greet = true;
  };

  BlkFixture() : BlkFixture(Setup{}) {}
  explicit BlkFixture(const Setup& asked) : setup(asked), disk(support::make_disk(asked.sectors)) {
    for (std::uint16_t i = 0; i < setup.queues; ++i) queues.emplace_back(ram, setup.queue_size, setup.layout);
    auto [ours, theirs] = support::make_stream_pair();
    front_end = std::make_unique<support::FakeFrontEnd>(std::move(ours));
    server_ = std::thread([this, socket = std::move(theirs)]() mutable { serve(std::move(socket)); });
    if (!setup.greet) return;
    ready = front_end->greet(ram, features());
    for (std::uint16_t i = 0; i < setup.queues; ++i) ready = ready && front_end->start(queues[i], i);
  }
  ~BlkFixture() { hang_up(); }

  // What the driver accepts.
  std::uint64_t features() const {
    return setup.features | std::uint64_t{1} << 32 |
           (setup.layout == support::Layout::Packed ? support::kPackedFeature : 0);
  }

  void hang_up() {
    front_end.reset();
    if (server_.joinable()) server_.join();
  }

  // Offers the request, kicks and waits. The status byte, or kUntouched if it did not come back.
  std::uint8_t run(const support::BlkRequest& request) { return run(request, request.parts()); }
  std::uint8_t run(const support::BlkRequest& request, std::span<const support::Descriptor> parts) {
    queues[0].offer(queues[0].link(parts));
    queues[0].kick();
    last_used = queues[0].wait_used();
    return status(request);
  }
  std::uint8_t status(const support::BlkRequest& request) { return ram.object<std::uint8_t>(request.status); }

  const Setup setup;
  support::GuestRam ram{8 << 20};
  ipc::UniqueFd disk;
  std::vector<support::FakeQueue> queues;
  std::unique_ptr<support::FakeFrontEnd> front_end;
  bool ready = false;
  std::optional<support::Used> last_used;
  ipc::Result<> outcome;  // of the server, after hang_up()

 private:
  void serve(ipc::UniqueFd socket) {
    outcome = [&]() -> ipc::Result<> {
      ipc::UniqueFd image(::fcntl(disk.get(), F_DUPFD_CLOEXEC, 0));
      auto storage = TRY(blk::Storage::adopt(std::move(image), setup.writes));
      auto device = TRY(blk::Device::create(std::move(storage), {.serial = "test-disk", .queues = setup.queues}));
      auto server = TRY(serve::Server::create(std::move(device), setup.sealing, {}));
      auto ended = TRY(server->run(std::move(socket)));
      if (ended.broken) return std::unexpected(std::move(*ended.broken));
      return {};
    }();
  }
  std::thread server_;
};

inline constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;
inline constexpr std::chrono::milliseconds kLittle{100};  // enough for what must not come

inline support::BlkRequest read_request(BlkFixture& blk) {
  return support::make_request(blk.ram, VIRTIO_BLK_T_IN, 0, support::kSector);
}
// A read succeeds.
inline bool alive(BlkFixture& blk) {
  return blk.run(read_request(blk)) == VIRTIO_BLK_S_OK;
}

}  // namespace conformance
