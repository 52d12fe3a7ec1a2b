// Keeps a device's virtqueues filled with requests and takes the time of each.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <vector>

#include "tests/bench/blk/histogram.h"
#include "tests/bench/blk/options.h"
#include "tests/bench/blk/pattern.h"
#include "tests/bench/blk/process_time.h"
#include "tests/bench/blk/slots.h"
#include "tests/bench/blk/target.h"

namespace bench {

struct Outcome {
  double seconds = 0;
  std::uint64_t failed = 0;  // their status was not OK
  std::uint64_t kicks = 0;
  std::uint64_t interrupts = 0;
  double back_end_seconds = 0;  // of CPU time
  double kernel_seconds = 0;    // of all kernel threads' CPU time
  Histogram latency;            // nanoseconds
};

// `Ring` is SplitRing or PackedRing. All queues are served by the thread that calls run().
template <class Ring>
class Load {
 public:
  // `target` is not started yet; `features` are what it shall be told.
  Load(Target& target, std::uint64_t features, const Options& options)
      : target_(target), options_(options), ram_(bytes_of_ram(options)) {
    for (std::uint16_t i = 0; i < options.queues; ++i) queues_.emplace_back(ram_, options, target.bytes(), i);
    watch(call_, kCall);
    watch(target.socket(), kSocket);
    target.accept(features, ram_);
    for (std::uint16_t i = 0; i < options.queues; ++i) {
      Queue& queue = queues_[i];
      if (options.wait == Wait::Poll) queue.ring.disarm();
      const RingPlaces places{queue.ring.descriptors, queue.ring.driver_area, queue.ring.device_area};
      target.start(i, options.queue_size, Ring::kFirstBase, places, queue.kick, call_);
    }
  }

  Outcome run() {
    count_from_ = now() + static_cast<std::uint64_t>(options_.warm_up * 1e9);
    for (Queue& queue : queues_) {
      const std::uint64_t time = look_at_clock();
      for (std::uint16_t slot = 0; slot < queue.slots.count() && more_; ++slot) offer(queue, slot, time);
      publish(queue);
    }
    while (finished_ < offered_) {
      bool any = false;
      for (Queue& queue : queues_) any |= reap(queue);
      if (!any) wait();
    }
    if (counting_) stop_counting(now());
    for (std::uint16_t i = 0; i < options_.queues; ++i) target_.stop(i);
    return outcome_;
  }

 private:
  static constexpr std::uint64_t kCall = 0;
  static constexpr std::uint64_t kSocket = 1;
  static constexpr std::uint64_t kPatienceNs = 20'000'000'000;  // for any completion: callgrind is slow

  struct Queue {
    Queue(support::GuestRam& ram, const Options& options, std::uint64_t disk_bytes, std::uint16_t index)
        : slots(ram, options.depth, options.block),
          ring(ram, slots, options.queue_size, options.event_idx, options.indirect),
          pattern(options, disk_bytes, index),
          started(options.depth) {}
    Slots slots;
    Ring ring;
    Pattern pattern;
    std::vector<std::uint64_t> started;  // of each slot, nanoseconds
    ipc::UniqueFd kick = support::make_eventfd();
  };

  static std::size_t bytes_of_ram(const Options& options) {
    const std::size_t queue =
        Slots::bytes_of_ram(options.depth, options.block) + Ring::bytes_of_ram(options.queue_size);
    return (options.queues * queue / Slots::kAlignment + 1) * Slots::kAlignment;
  }
  static std::uint64_t now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  }

  void watch(const ipc::UniqueFd& fd, std::uint64_t what) const {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = what}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) throw Failure("epoll_ctl failed");
  }

  void offer(Queue& queue, std::uint16_t slot, std::uint64_t time) {
    const bool write = queue.pattern.next_writes();
    queue.slots.fill(slot, write, queue.pattern.next_sector());
    queue.started[slot] = time;
    queue.ring.offer(slot, write);
    if (++offered_ == options_.requests) more_ = false;
  }

  void publish(Queue& queue) {
    if (!queue.ring.publish()) return;
    const std::uint64_t one = 1;
    if (::write(queue.kick.get(), &one, sizeof one) != sizeof one) throw Failure("a kick failed");
    ++outcome_.kicks;
  }

  // Takes all that has completed and offers as much again, with one kick. False: nothing had.
  bool reap(Queue& queue) {
    if (!queue.ring.completed()) return false;
    const std::uint64_t time = look_at_clock();
    do {
      const std::uint16_t slot = queue.ring.take();
      ++finished_;
      if (counting_) {
        outcome_.latency.add(time - queue.started[slot]);
        outcome_.failed += queue.slots.succeeded(slot) ? 0 : 1;
      }
      if (more_) offer(queue, slot, time);
    } while (queue.ring.completed());
    publish(queue);
    return true;
  }

  std::uint64_t look_at_clock() {
    const std::uint64_t time = now();
    last_progress_ = time;
    if (!counting_ && more_ && time >= count_from_) start_counting(time);
    if (counting_ && options_.seconds > 0 && time >= count_from_ + static_cast<std::uint64_t>(options_.seconds * 1e9)) {
      stop_counting(time);
      more_ = false;
    }
    return time;
  }

  void start_counting(std::uint64_t time) {
    counting_ = true;
    count_from_ = time;
    outcome_ = Outcome{};
    take_interrupts();
    if (options_.back_end == 0) return;
    back_end_before_ = process_time(fmt::format("{}", options_.back_end)).seconds;
    kernel_before_ = kernel_threads();
  }
  void stop_counting(std::uint64_t time) {
    counting_ = false;
    outcome_.seconds = static_cast<double>(time - count_from_) / 1e9;
    outcome_.interrupts = take_interrupts();
    if (options_.back_end == 0) return;
    outcome_.back_end_seconds = process_time(fmt::format("{}", options_.back_end)).seconds - back_end_before_;
    outcome_.kernel_seconds = kernel_seconds_since(kernel_before_);
  }
  std::uint64_t take_interrupts() const {
    std::uint64_t count = 0;
    return ::read(call_.get(), &count, sizeof count) == sizeof count ? count : 0;
  }

  void wait() {
    if (options_.wait == Wait::Interrupt) {
      bool completed = false;
      for (Queue& queue : queues_) completed |= queue.ring.arm();
      if (!completed) sleep(1000);
      for (Queue& queue : queues_) queue.ring.disarm();
      return;
    }
    for (unsigned spins = 0; spins < 1u << 20; ++spins) {
      for (const Queue& queue : queues_)
        if (queue.ring.completed()) return;
      __builtin_ia32_pause();
    }
    sleep(0);
  }

  // Until an interrupt, at most so many milliseconds.
  void sleep(int milliseconds) {
    epoll_event event{};
    if (::epoll_wait(epoll_.get(), &event, 1, milliseconds) == 1 && event.data.u64 == kSocket)
      throw Failure("the back end has hung up");
    if (now() - last_progress_ > kPatienceNs) throw Failure("the back end completes nothing");
  }

  Target& target_;
  Options options_;
  support::GuestRam ram_;
  std::deque<Queue> queues_;
  ipc::UniqueFd call_ = support::make_eventfd();  // of all queues; epoll sees each interrupt without its being read
  ipc::UniqueFd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  Outcome outcome_;
  std::uint64_t offered_ = 0;
  std::uint64_t finished_ = 0;
  bool more_ = true;  // requests shall be offered
  bool counting_ = false;
  std::uint64_t count_from_ = 0;
  std::uint64_t last_progress_ = 0;
  double back_end_before_ = 0;  // CPU time, in seconds
  std::map<std::string, double> kernel_before_;
};

}  // namespace bench
