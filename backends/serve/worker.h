// A thread that serves a group of queues, and how the main thread gets it to stand still.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "backends/serve/group.h"
#include "ipc/unique_fd.h"

namespace serve {

// Makes a group on the thread that is to serve it.
using MakeGroup = std::function<ipc::Result<std::unique_ptr<Group>>()>;

// The calling thread runs on `cpu` only. EINVAL if there is none of that number, or it is not ours.
ipc::Result<> run_on(std::uint16_t cpu);

class Worker {
 public:
  // A thread with a group of its own, parked, on `cpu` if there is one. It raises `news` (borrowed, an eventfd)
  // when rest is reached. Errors are those of `make`, EINVAL for a CPU that is not there.
  static ipc::Result<std::unique_ptr<Worker>> start(const MakeGroup& make, std::optional<std::uint16_t> cpu,
                                                    const ipc::UniqueFd& news);
  // The thread ends; what is in flight is lost.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Between park() and release() the thread does nothing, and all that belongs to it may be looked at.
  void park();
  void release();
  // While parked: has the thread run `work`, as the kernel asks of some calls, and returns when that is done.
  void call(const std::function<void()>& work);

  // While parked.
  Group& group() { return *group_; }
  // Closed, it takes no new request and tells `news` once nothing is in flight.
  void set_closed(bool closed);

 private:
  enum class Order : std::uint32_t { Run, Park, Call, End };
  enum class State : std::uint32_t { Starting, Running, Parked };

  explicit Worker(const ipc::UniqueFd& news) : news_(news) {}
  void main(const MakeGroup& make, std::optional<std::uint16_t> cpu);
  ipc::Result<> set_up(const MakeGroup& make, std::optional<std::uint16_t> cpu);
  // Stands still until told otherwise. False: to end.
  bool stand();
  void become(State state);
  void give(Order order);
  void await(State state);

  const ipc::UniqueFd& news_;
  ipc::UniqueFd wake_;
  std::unique_ptr<Group> group_;
  ipc::Result<> set_up_;
  const std::function<void()>* work_ = nullptr;
  bool closed_ = false;
  bool told_ = false;
  std::atomic<Order> order_ = Order::Park;
  std::atomic<State> state_ = State::Starting;
  std::thread thread_;
};

}  // namespace serve
