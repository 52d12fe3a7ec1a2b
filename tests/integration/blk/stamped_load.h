// A driver that keeps many requests in flight, over as many back ends one after the other as it takes, and counts what
// goes wrong. It writes stamps, no two the same, and reads them back.
#pragma once

#include <algorithm>
#include <random>

#include "tests/support/blk_program.h"

class StampedLoad {
 public:
  static constexpr std::uint16_t kQueues = 2;
  static constexpr std::size_t kSlots = 40;         // requests in flight, at most, over all queues
  static constexpr std::size_t kBlocksOfSlot = 16;  // each slot has its own, so that requests in flight never meet
  static constexpr std::size_t kBlock = 8 * support::kSector;
  static constexpr std::size_t kSectors = kSlots * kBlocksOfSlot * kBlock / support::kSector;  // of the disk

  static constexpr std::uint16_t kQueueSize = 64;
  static constexpr std::size_t kRam = 4 << 20;
  static constexpr std::uint64_t kFeatures =
      std::uint64_t{1} << 32 | std::uint64_t{1} << 28 | std::uint64_t{1} << VIRTIO_BLK_F_FLUSH;

  explicit StampedLoad(std::uint32_t seed, support::Layout layout = support::Layout::Split)
      : StampedLoad(seed, layout, support::GuestRam(kRam)) {}
  // In RAM of somebody else's, of kRam bytes, whose front end is somebody else too.
  StampedLoad(std::uint32_t seed, support::Layout layout, support::GuestRam ram);
  std::span<support::FakeQueue> queues() { return queues_; }

  // Goes on over this connection, with what was in flight on the last. False: the back end broke off.
  bool greet(std::unique_ptr<support::FakeFrontEnd> front_end);
  // Works until so many more requests have completed; false: it took longer than kPatience.
  bool run(std::size_t requests);
  // Works for so long.
  void run_for(std::chrono::microseconds time);
  // Waits for all that is in flight.
  void finish();
  // From now on nothing is written, and every block is read in turn.
  void read_back() { reading_back_ = true; }
  // One look at everything; false: nothing had completed. round() offers what it can before.
  bool round();
  bool drain();

  std::size_t completed() const { return completed_; }
  std::size_t in_flight() const { return static_cast<std::size_t>(std::ranges::count_if(slots_, &Slot::busy)); }

  std::size_t repeated = 0;    // completions of what was not in flight
  std::size_t errors = 0;      // any status but VIRTIO_BLK_S_OK
  std::size_t mismatches = 0;  // reads of anything but the last stamp written
  // Blocks of the image that do not hold the last stamp written to them.
  std::size_t stale(const ipc::UniqueFd& disk) const;

 private:
  enum class Kind : std::uint8_t { Read, Write, Flush };
  struct Slot {
    support::BlkRequest request;
    std::uint16_t queue = 0;
    std::uint64_t table = 0;  // its indirect descriptors
    std::uint16_t head = 0;
    bool busy = false;
    Kind kind = Kind::Read;
    std::size_t block = 0;
    std::uint64_t stamp = 0;
    std::size_t reads_back = 0;  // the next of its blocks
  };

  bool get_region();
  std::span<std::uint64_t> words(const Slot& slot);
  void offer(Slot& slot);
  void complete(std::uint16_t queue, const support::Used& used);

  std::mt19937 random_;
  support::GuestRam ram_;
  std::vector<support::FakeQueue> queues_;
  std::unique_ptr<support::FakeFrontEnd> front_end_;
  ipc::UniqueFd region_;
  ipc::vhost_user::Inflight inflight_{};
  std::vector<Slot> slots_;
  std::vector<std::uint64_t> stamps_ = std::vector<std::uint64_t>(kSlots * kBlocksOfSlot);  // 0: never written
  std::uint64_t last_stamp_ = 0;
  bool reading_back_ = false;
  std::size_t completed_ = 0;
};
