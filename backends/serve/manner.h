// How the operator wants a device to be served, whatever it is.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/serve/engine.h"
#include "backends/serve/poller.h"

namespace serve {

struct Manner {
  std::uint16_t threads = 1;             // at least 1, no more than there are queues to share out
  std::vector<std::uint16_t> cpus = {};  // thread i runs on the i-th of them, in turn; empty: anywhere
  EngineChoice engine = EngineChoice::Best;
  Poll poll = Poll::Off;
  std::uint32_t poll_limit = 200'000;  // nanoseconds that Poll::Adaptive looks, at most
};

}  // namespace serve
