// How one network card is to be served.
#pragma once

#include <cstdint>

#include "backends/limits/limiter.h"
#include "backends/net/policy.h"
#include "backends/serve/manner.h"
#include "backends/telemetry/segment.h"

namespace net {

inline constexpr std::uint16_t kMostPairs = 31;  // with a control queue they are below virtio::kMaxQueues
inline constexpr std::uint16_t kLeastMtu = 68;   // RFC 791

struct Options {
  EthernetAddress mac;
  std::uint16_t mtu = 1500;   // kLeastMtu or more
  std::uint16_t pairs = 1;    // of queues, 1 to kMostPairs
  serve::Manner manner = {};  // pair i belongs to thread i modulo their number
  Policy policy = {};
  limits::Limiter* limiter = nullptr;  // borrowed; none: no limits
  const telemetry::Segment* telemetry =
      nullptr;  // borrowed, of kCounterNames and a queue for each ring; none: nobody looks

  std::uint16_t rings() const { return static_cast<std::uint16_t>(2 * pairs + 1); }
};

}  // namespace net
