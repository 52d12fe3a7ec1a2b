// What all queues of a network card know of it. Changes only while no thread serves, but for what says otherwise.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backends/limits/limiter.h"
#include "backends/net/control.h"
#include "backends/net/guard.h"
#include "backends/net/link.h"
#include "backends/telemetry/segment.h"

namespace net {

struct Card {
  std::vector<std::unique_ptr<Link>> links;  // one for each pair of queues; empty: nobody is at the other end
  Control control;
  Guard guard;
  Offloads sent;  // what the driver may leave to us
  bool mergeable = false;
  std::uint16_t receiving = 1;  // pairs that share the links' frames out: pair i has those of link i modulo this
  bool plugged = true;          // the operator has not pulled the cable out
  limits::Limiter* limiter = nullptr;
  ipc::UniqueFd attention;              // an eventfd: a thread wants the main one to look at what follows
  std::atomic<bool> link_lost = false;  // set by any thread: a peer has gone

  bool link_up() const { return plugged && !links.empty(); }
};

}  // namespace net
