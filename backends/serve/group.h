// The queues that one thread serves.
#pragma once

#include <cstddef>
#include <functional>

#include "backends/serve/engine.h"

namespace serve {

// What is told of events that are not about the group's queues. False: take no new requests in this round.
using OtherEvents = std::function<bool(const Event& event)>;

// To be called by the thread that made it.
class Group {
 public:
  Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  virtual ~Group() = default;

  virtual Engine& engine() = 0;

  // Looks at everything once: what has completed, what is new in the rings, and one publication. Sleeps first
  // if there is nothing. While `closed` nothing new is taken, and what waits for its turn is not held up any
  // more. `other` is told of events before new requests are taken.
  virtual ipc::Result<> round(bool closed, const OtherEvents& other) = 0;

  // Requests that were taken and not yet given back.
  virtual std::size_t in_flight() const = 0;
};

}  // namespace serve
