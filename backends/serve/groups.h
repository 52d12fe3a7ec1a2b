// All queues of a device, shared out among threads: the main thread has the first group, workers have the others.
#pragma once

#include <memory>
#include <vector>

#include "backends/serve/manner.h"
#include "backends/serve/worker.h"

namespace serve {

class Groups {
 public:
  // To be used by the thread that calls this, which serves the first group. `make` is called once on each of
  // manner.threads threads. Errors as of Worker::start().
  static ipc::Result<std::unique_ptr<Groups>> create(const MakeGroup& make, const Manner& manner);
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  Group& main() { return *main_; }
  std::size_t threads() const { return workers_.size() + 1; }

  // While one lives the other threads stand still: only then may the session, the rings or what follows be touched.
  class Pause {
   public:
    explicit Pause(Groups& groups) : groups_(groups) {
      for (const auto& worker : groups_.workers_) worker->park();
    }
    ~Pause() {
      for (const auto& worker : groups_.workers_) worker->release();
    }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

    // Other threads take no new requests, and wake the main group's engine when none are in flight.
    void set_closed(bool closed) {
      for (const auto& worker : groups_.workers_) worker->set_closed(closed);
    }

   private:
    Groups& groups_;
  };

  // Has the thread of group `index` do `work`.
  void on(std::size_t index, const std::function<void(Group&)>& work);
  // Has each worker's thread do `work`, once, before the first Pause: they run afterwards.
  void release_after(const std::function<void(Group&)>& work);

 private:
  Groups() = default;

  ipc::UniqueFd news_;  // of workers for the main group
  std::unique_ptr<Group> main_;
  std::vector<std::unique_ptr<Worker>> workers_;  // last: they use all the rest
};

}  // namespace serve
