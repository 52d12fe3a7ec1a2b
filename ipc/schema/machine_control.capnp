@0xe1b7f20c9d4a6835;
# What an operator may ask of a machine's monitor, over the socket `control` in the machine's control folder: one frame
# of a SOCK_SEQPACKET socket for each message, one answer for each request. The monitor trusts who may connect (root
# and its own uid) to change what it does, and nobody to send well-formed messages.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ipc::schema");

using Seal = import "control.capnp".Seal;
using Isolation = import "machine.capnp".Isolation;

struct MachineRequest {
  union {
    status @0 :Void;
    # Answer: `status`.

    restart @1 :Text;
    # The device of this name gets another back end: a new process. Descriptor, if any: its program, in place of the
    # one that the machine was started with. Answer: `done` as soon as the old one is told to end, or `failed`.
  }
}

struct MachineAnswer {
  union {
    done @0 :Void;
    failed @1 :Text;         # the reason, for people
    status @2 :MachineStatus;
  }
}

struct MachineStatus {
  name @0 :Text;
  monitor @1 :Int32;         # its pid
  running @2 :Bool;          # the guest does; otherwise it is being set up
  processes @3 :List(ProcessStatus);
  spawner @4 :Int32;         # its pid
  seal @5 :Seal;             # of the monitor
  isolation @6 :Isolation;   # what the machine's configuration requires of each process
}

struct ProcessStatus {
  name @0 :Text;             # "vcpu-host", "blk0", "net1", or the socket of somebody else's back end
  pid @1 :Int32;             # 0: none now, or somebody else's
  restarts @2 :UInt32;       # how often it was replaced
  cause @3 :Text;            # of the last time
  seal @5 :Seal;             # all 0: not sealed yet, or somebody else's
  gaps @4 :Text;             # how long the guest waited then, for people; empty: it never had to
}
