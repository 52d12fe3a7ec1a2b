// kill -9 at any moment under load, then a new process: each request completes exactly once as the
// driver sees it (vhost-user.rst, "Inflight I/O tracking").
#include <random>

#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

using ipc::vhost_user::Inflight;
using ipc::vhost_user::Request;
using support::BlkFolder;
using support::BlkProgram;
using support::BlkRequest;
using support::kSector;
using support::make_request;

namespace {

constexpr std::size_t kSlots = 20;
constexpr std::size_t kBlocksOfSlot = 16;  // each slot has its own, so that requests in flight never meet
constexpr std::size_t kBlock = 8 * kSector;
constexpr std::uint16_t kQueueSize = 64;

// A driver that keeps kSlots requests in flight and counts what goes wrong. It writes stamps, no two
// the same, and reads them back.
class Load {
 public:
  Load() {
    for (std::size_t i = 0; i < kSlots; ++i) {
      Slot& slot = slots_.emplace_back(Slot{.request = make_request(ram_, VIRTIO_BLK_T_OUT, 0, kBlock)});
      slot.table = ram_.allocate(48);
      const support::Descriptor whole{slot.table, 48, support::kIndirect};
      slot.head = queue_.link(std::span(&whole, 1));
    }
  }

  bool connect(const BlkProgram& program) {
    front_end_ = program.connect();
    if (!front_end_ || !front_end_->greet(ram_, std::uint64_t{1} << 32 | std::uint64_t{1} << 28)) return false;
    if (!region_ && !get_region()) return false;
    const int fd = region_.get();
    return front_end_->ask(Request::SetInflightFd, inflight_, std::span(&fd, 1)) &&
           front_end_->start(queue_, 0, ram_.object<std::uint16_t>(queue_.used() + 2));
  }

  void run_for(std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      for (Slot& slot : slots_)
        if (!slot.busy) offer(slot);
      queue_.kick();
      while (const auto used = queue_.wait_used(std::chrono::milliseconds(0))) complete(*used);
    }
  }
  // Waits for all that is in flight.
  void finish() {
    while (in_flight() > 0) {
      const auto used = queue_.wait_used();
      if (!used) break;
      complete(*used);
    }
    lost = in_flight();
    while (const auto used = queue_.wait_used(std::chrono::milliseconds(20))) complete(*used);
  }
  // Blocks of the image that do not hold the last stamp written to them.
  std::size_t stale(const ipc::UniqueFd& disk) const {
    std::size_t count = 0;
    for (std::size_t block = 0; block < stamps_.size(); ++block) {
      std::array<std::uint64_t, kBlock / 8> content{};
      if (::pread(disk.get(), content.data(), kBlock, static_cast<off_t>(block * kBlock)) != ssize_t{kBlock}) ++count;
      if (stamps_[block] != 0 && !std::ranges::all_of(content, [&](auto word) { return word == stamps_[block]; }))
        ++count;
    }
    return count;
  }

  std::size_t completed = 0;
  std::size_t lost = 0;
  std::size_t repeated = 0;
  std::size_t errors = 0;
  std::size_t mismatches = 0;

 private:
  struct Slot {
    BlkRequest request;
    std::uint64_t table = 0;
    std::uint16_t head = 0;
    bool busy = false;
    bool reads = false;
    std::size_t block = 0;
    std::uint64_t stamp = 0;
  };

  bool get_region() {
    if (!front_end_->send(Request::GetInflightFd, Inflight{0, 0, 1, kQueueSize, 0})) return false;
    auto reply = front_end_->receive();
    if (!reply || reply->fds.size() != 1 || !reply->as<Inflight>()) return false;
    inflight_ = *reply->as<Inflight>();
    region_ = std::move(reply->fds[0]);
    return true;
  }

  std::span<std::uint64_t> words(const Slot& slot) {
    return {&ram_.object<std::uint64_t>(slot.request.data), kBlock / 8};
  }

  void offer(Slot& slot) {
    const auto index = static_cast<std::size_t>(&slot - slots_.data());
    slot.block = index * kBlocksOfSlot + random_() % kBlocksOfSlot;
    slot.reads = stamps_[slot.block] != 0 && random_() % 3 == 0;
    slot.stamp = slot.reads ? stamps_[slot.block] : ++last_stamp_;
    std::ranges::fill(words(slot), slot.reads ? 0 : slot.stamp);
    ram_.object<virtio_blk_outhdr>(slot.request.header) = {
        .type = slot.reads ? std::uint32_t{VIRTIO_BLK_T_IN} : std::uint32_t{VIRTIO_BLK_T_OUT},
        .ioprio = 0,
        .sector = slot.block * (kBlock / kSector)};
    ram_.object<std::uint8_t>(slot.request.status) = support::kUntouched;
    slot.request.device_writes = slot.reads;
    auto parts = slot.request.parts();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i + 1 < parts.size()) parts[i].flags |= support::kNext;
      parts[i].next = static_cast<std::uint16_t>(i + 1);
      ram_.object<support::Descriptor>(slot.table + 16 * i) = parts[i];
    }
    slot.busy = true;
    queue_.offer(slot.head);
  }

  void complete(const support::Used& used) {
    const auto slot = std::ranges::find_if(slots_, [&](const Slot& each) { return each.head == used.id; });
    if (slot == slots_.end() || !slot->busy) {
      ++repeated;
      return;
    }
    slot->busy = false;
    ++completed;
    if (ram_.object<std::uint8_t>(slot->request.status) != VIRTIO_BLK_S_OK) ++errors;
    if (!slot->reads) stamps_[slot->block] = slot->stamp;
    if (!std::ranges::all_of(words(*slot), [&](std::uint64_t word) { return word == slot->stamp; })) ++mismatches;
  }

  std::size_t in_flight() const { return static_cast<std::size_t>(std::ranges::count_if(slots_, &Slot::busy)); }

  support::GuestRam ram_{4 << 20};
  support::FakeQueue queue_{ram_, kQueueSize};
  std::unique_ptr<support::FakeFrontEnd> front_end_;
  ipc::UniqueFd region_;
  Inflight inflight_{};
  std::vector<Slot> slots_;
  std::vector<std::uint64_t> stamps_ = std::vector<std::uint64_t>(kSlots * kBlocksOfSlot);  // 0: never written
  std::uint64_t last_stamp_ = 0;
  std::mt19937 random_{20'26};
};

}  // namespace

SCENARIO("blk recovery: 50 kills under load lose nothing, repeat nothing and give no error", "[blk-recovery]") {
  const BlkFolder folder(kSlots * kBlocksOfSlot * kBlock / kSector);
  Load load;
  std::mt19937 random(std::random_device{}());
  auto program = std::make_unique<BlkProgram>(folder);
  REQUIRE(load.connect(*program));
  for (int kills = 0; kills < 50; ++kills) {
    load.run_for(std::chrono::microseconds(random() % 20'000));
    program->kill();
    program = std::make_unique<BlkProgram>(folder);
    INFO(folder.logged());
    REQUIRE(load.connect(*program));
  }
  load.run_for(std::chrono::milliseconds(20));
  load.finish();
  INFO(load.completed << " requests completed");
  CHECK(load.completed > 100);
  CHECK(load.lost == 0);
  CHECK(load.repeated == 0);
  CHECK(load.errors == 0);
  CHECK(load.mismatches == 0);
  CHECK(load.stale(folder.disk) == 0);
}
