// The pairs of queues of one thread, and the links that they share.
#pragma once

#include <memory>
#include <vector>

#include "backends/net/card.h"
#include "backends/net/frame_queue.h"
#include "backends/net/options.h"
#include "backends/serve/group.h"

namespace net {

// Of an engine's places for a device's own files: the eventfd by which any thread wants the main one's attention.
inline constexpr std::uint16_t kAttention = 0;

class QueueGroup final : public serve::Group {
 public:
  // To be called, like all that follows, by the thread that serves it. `card` must outlive it.
  // `thread` is its number among options.manner.threads.
  static ipc::Result<std::unique_ptr<QueueGroup>> create(Card& card, const Options& options, std::uint16_t thread);

  serve::Engine& engine() override { return *engine_; }
  ipc::Result<> round(bool closed, const serve::OtherEvents& other) override;
  std::size_t in_flight() const override;

  // As virtio::Device asks, of rings that move frames.
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring);
  void stop(std::uint16_t index);
  void suspend(std::uint16_t index);
  // Waits for a ring's kicks on behalf of the device, which is told of them by Op::Own.
  ipc::Result<> watch_control(std::uint16_t index, const ipc::UniqueFd& kick);
  void unwatch_control(std::uint16_t index);

  // The links, or which pair receives from which, are about to change, and have changed.
  void forget_links();
  ipc::Result<> watch_links();

 private:
  // A ring that moves frames.
  struct Turn {
    std::unique_ptr<FrameQueue> queue;  // none: another thread's
    Progress progress = Progress::Idle;
    std::uint32_t generation = 0;  // counts starts: an event of an earlier one is not ours
    bool look = false;             // something may have come
    bool kicked = true;            // the driver kicks for the next chain
  };

  QueueGroup(Card& card, const Options& options, std::uint16_t thread, std::unique_ptr<serve::Engine> engine);
  serve::Token kick_token(std::uint16_t index) const;
  serve::Token control_token(std::uint16_t index) const;
  // False: no new frames before somebody else has looked.
  bool handle(const serve::Event& event, const serve::OtherEvents& other);
  // Something may have come of which no event tells.
  void look();
  // Sets wait_. When it sleeps: since when, otherwise 0.
  std::uint64_t prepare_sleep(bool closed);
  bool ask_for_kicks();
  void serve();
  void serve(std::uint16_t index);
  void publish();

  Card& card_;
  const std::uint16_t thread_;
  const std::uint16_t threads_;
  std::unique_ptr<serve::Engine> engine_;
  serve::Poller poller_;
  serve::Wait wait_;
  std::vector<Turn> turns_;             // of all rings of the card but the control queue
  std::vector<std::uint16_t> running_;  // rings
  std::vector<bool> known_;             // links that the engine has
  std::vector<bool> watched_;           // those that this thread receives from
  std::size_t first_ = 0;
  std::uint32_t control_generation_ = 0;
  std::uint64_t frames_ = 0;  // handled, ever
  std::uint64_t time_ = 0;    // of this round
};

}  // namespace net
