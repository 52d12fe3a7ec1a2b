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
    {SYS_getsockopt, "is what is given for a lost link a stream?", {equals(1, SOL_SOCKET), equals(2, SO_TYPE)}},
};

constexpr Rule kRedialTable[] = {
    {SYS_write, "say that it is ready"},
    {SYS_read, "wait until a connection is asked for, or who asks has gone"},
    {SYS_poll, "wait a while before the next attempt, or until who asks has gone"},
    {SYS_socket, "a connection in place of the lost one", {equals(0, AF_UNIX)}},
    {SYS_connect, "to the path that it was told before it was sealed"},
    {SYS_sendmsg, "give it away"},
    {SYS_close, "nobody listens there, or it is given away"},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_exit_group, "end"},
};

template <const auto&... OfRole>
Policy with_engine(bool ring) {
  return ring ? Policy(kJoined<kRing, kEveryThread, kFrames, OfRole...>)
              : Policy(kJoined<kEpoll, kEveryThread, kFrames, OfRole...>);
}

}  // namespace

constinit const Policy kRedialPolicy = kRedialTable;

Policy net_policy(Role role, bool ring) {
  switch (role) {
    case Role::Monitored:
      return with_engine<kSession, kTaps, kRelinking, kOperators>(ring);
    case Role::Standalone:
      return with_engine<kSession, kTaps, kRelinking, kListening, kOperators>(ring);
    case Role::Worker:
      return with_engine<kWorkersFrames, kWorker>(ring);
  }
  __builtin_unreachable();  // all values return
}

}  // namespace sandbox
