// Entered before the first byte of a guest, of a front end or of the network is read.
#include "sandbox/policy/net.h"

#include <linux/if_tun.h>

#include "sandbox/policy/tables.h"

namespace sandbox {
namespace {

using namespace tables;  // NOLINT(google-build-using-namespace): this file is one more of them

constexpr Rule kFrames[] = {
    {SYS_readv, "a frame of a tap or packet socket"},
    {SYS_writev, "a frame to one"},
    {SYS_recvfrom, "frames of a stream"},
    {SYS_sendto, "the rest of a frame to one"},
};

// A main thread may do so anyhow.
constexpr Rule kWorkersFrames[] = {
    {SYS_sendmsg, "a frame to a stream"},
};

// The main thread's: it tells the taps when a driver comes, and when it changes its mind.
constexpr Rule kTaps[] = {
    {SYS_ioctl, "tell a tap what the driver takes", {equals(1, TUNSETOFFLOAD)}},
};

constexpr Rule kRelinking[] = {
    {SYS_getsockopt,
     "is what the monitor gives for a lost link a stream?",
     {equals(1, SOL_SOCKET), equals(2, SO_TYPE)}},
};

template <const auto&... OfRole>
Policy with_engine(bool ring) {
  return ring ? Policy(kJoined<kRing, kEveryThread, kFrames, OfRole...>)
              : Policy(kJoined<kEpoll, kEveryThread, kFrames, OfRole...>);
}

}  // namespace

Policy net_policy(Role role, bool ring) {
  switch (role) {
    case Role::Monitored:
      return with_engine<kSession, kTaps, kRelinking, kOperators>(ring);
    case Role::Standalone:
      return with_engine<kSession, kTaps, kListening, kOperators>(ring);
    case Role::Worker:
      return with_engine<kWorkersFrames, kWorker>(ring);
  }
  __builtin_unreachable();  // all values return
}

}  // namespace sandbox
