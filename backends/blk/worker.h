// A thread that serves a group of queues, and how the main thread gets it to stand still.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <thread>

#include "backends/blk/queue_group.h"
#include "ipc/unique_fd.h"

namespace blk {

// The calling thread runs on `cpu` only. EINVAL if there is none of that number, or it is not ours.
ipc::Result<> run_on(std::uint16_t cpu);

class Worker {
 public:
  // A thread with a group of its own, parked, on `cpu` if there is one. It raises `news` (borrowed, an eventfd)
  // when rest() is reached. Errors are those of QueueGroup::create(), EINVAL for a CPU that is not there.
  static ipc::Result<std::unique_ptr<Worker>> start(const Disk& disk, const Options& options,
                                                    std::optional<std::uint16_t> cpu, const ipc::UniqueFd& news);
  // The thread ends; what is in flight is lost.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Between park() and release() the thread does nothing, and all that belongs to it may be looked at.
  void park();
  void release();
  // While parked: has the thread run `work`, as the kernel asks of some calls, and returns when that is done.
  void call(const std::function<void(QueueGroup&)>& work);

  // While parked. Closed, it takes no new request and tells `news` once nothing is in flight.
  void set_closed(bool closed);
  bool at_rest() const { return group_->in_flight() == 0; }

 private:
  enum class Order : std::uint32_t { Run, Park, Call, End };
  enum class State : std::uint32_t { Starting, Running, Parked };

  explicit Worker(const ipc::UniqueFd& news) : news_(news) {}
  void main(const Disk& disk, const Options& options, std::optional<std::uint16_t> cpu);
  ipc::Result<> set_up(const Disk& disk, const Options& options, std::optional<std::uint16_t> cpu);
  void listen();
  // Stands still until told otherwise. False: to end.
  bool stand();
  void become(State state);
  void give(Order order);
  void await(State state);

  const ipc::UniqueFd& news_;
  ipc::UniqueFd wake_;
  std::unique_ptr<QueueGroup> group_;
  ipc::Result<> set_up_;
  const std::function<void(QueueGroup&)>* work_ = nullptr;
  bool closed_ = false;
  bool told_ = false;
  std::atomic<Order> order_ = Order::Park;
  std::atomic<State> state_ = State::Starting;
  std::thread thread_;
};

}  // namespace blk
