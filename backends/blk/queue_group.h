// The queues of one thread, from the driver's chain to the used ring: what runs for every request is here.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "backends/blk/options.h"
#include "backends/blk/request.h"
#include "backends/blk/store.h"
#include "backends/serve/group.h"
#include "backends/serve/poller.h"
#include "backends/virtio/device.h"
#include "ipc/clock.h"

namespace blk {

// What all groups of a device know of it. Changes only while they are at rest or parked.
struct Disk {
  Storage storage;
  DiskShape shape;
  bool write_through = true;  // 5.2.6.2: each write is durable when it completes
  std::array<std::byte, VIRTIO_BLK_ID_BYTES> serial{};
};

class QueueGroup final : public serve::Group {
 public:
  // To be called, like all that follows, by the thread that serves it. `disk` must outlive it.
  static ipc::Result<std::unique_ptr<QueueGroup>> create(const Disk& disk, const Options& options);
  serve::Engine& engine() override { return *engine_; }
  bool plain_store() const { return plain_; }  // disk I/O is made by system calls of this thread
  bool pins_memory() const { return store_->pins_memory(); }
  ipc::Result<> use_memory(std::span<const iovec> places) { return store_->use_memory(places); }

  // As virtio::Device asks. Nothing of the ring is in flight at either.
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring);
  void stop(std::uint16_t index);
  void suspend(std::uint16_t index);

  ipc::Result<> round(bool closed, const serve::OtherEvents& other) override;
  std::size_t in_flight() const override { return kPoolSize - free_.size(); }

 private:
  static constexpr std::uint16_t kPoolSize = 3072;  // and with it what is in flight at once; fits the engine's queues

  struct Queue {
    virtio::Vring* ring = nullptr;  // while it runs
    std::uint32_t generation = 0;   // counts starts: an event of an earlier one is not ours
    bool look = false;              // chains may be waiting
    bool kicked = true;             // the driver kicks for the next chain
    // The limits hold a request back, and with it the queue: since when, and when to ask again.
    std::optional<std::uint16_t> held = {};
    std::uint64_t held_since = 0;
    std::uint64_t ask_at = 0;
    telemetry::QueueRecorder recorder;
  };
  struct InFlight {
    std::uint16_t queue;
    std::uint16_t head;
    std::uint64_t since;  // when it was taken
    std::uint64_t bytes;  // that it moves
    Request request;
  };

  QueueGroup(const Disk& disk, const Options& options, std::unique_ptr<serve::Engine> engine,
             std::unique_ptr<Store> store);

  // Sets wait_. When it sleeps: since when, otherwise 0.
  std::uint64_t prepare_sleep(bool closed);
  bool ask_for_kicks();
  bool handle(const serve::Event& event);
  void on_kick(const serve::Event& event);
  void on_disk_io(std::uint16_t slot, int result);

  // Takes what the rings have, a bounded number from each.
  void serve();
  void serve(Queue& queue);
  void take(Queue& queue, const virtio::Head& head);
  // Starts a request, or what remains of it, and goes on as long as that ends at once.
  void carry_on(std::uint16_t slot);
  Store::Outcome submit(std::uint16_t slot);
  Store::Outcome submit_range(std::uint16_t slot);
  // What came of the last step: true if the request needs another.
  bool advance(std::uint16_t slot, int result);
  bool advance_range(std::uint16_t slot, int result);
  void fail(std::uint16_t slot);
  void finish(std::uint16_t slot, std::uint8_t status);
  void leave(std::uint16_t slot);
  // Who waits for rest, or for the end, waits neither for limits nor for a disk that may never come back.
  void let_go();
  void retry_stalled();
  // May the request begin, or is it held back?
  bool admit(Queue& queue, std::uint16_t slot);
  // The held request of a queue begins, if it may now.
  bool resume(Queue& queue);
  void publish();

  serve::Token kick_token(std::size_t queue) const;
  static serve::Token io_token(std::uint16_t slot) {
    return {.op = serve::Op::Io, .queue = 0, .slot = slot, .generation = 0};
  }

  const Disk& disk_;
  const OnError on_error_;
  limits::Limiter* const limiter_;
  std::unique_ptr<serve::Engine> engine_;
  std::unique_ptr<Store> store_;
  const bool plain_;
  serve::Poller poller_;
  serve::Wait wait_;
  std::vector<Queue> queues_;  // of the device: those of other groups never run here
  std::vector<std::uint16_t> running_;
  std::size_t first_ = 0;  // of running_: which is served first, in turn
  // Storage for each request that can be in flight, in which one lives from take() to finish(). Pages that
  // were never needed were never touched.
  struct Release {
    void operator()(InFlight* pool) const { std::allocator<InFlight>().deallocate(pool, kPoolSize); }
  };
  std::unique_ptr<InFlight[], Release> pool_;
  std::vector<std::uint16_t> free_;     // slots of pool_, the last used first
  std::vector<std::uint16_t> stalled_;  // failed, and to be tried again
  bool stopped_ = false;                // and that was said
  std::uint64_t retry_at_ = 0;
  std::uint64_t taken_ = 0;  // chains, ever
  std::uint64_t time_ = 0;   // of this round: latencies are told by it
  virtio::Chain chain_;      // the one being parsed
};

}  // namespace blk
