@0x9d27c4e1b8f3605a;
# Between a monitor and its spawner, the one process of a machine that keeps privileges while the guest runs. The monitor
# asks, one frame for each request, and waits for the one answer. Whatever has a path or a name is bound by `setup`, before
# the guest runs: a later request names a slot, a program, a device or a card by number.
#
# `setup` → `folder`, `cgroup`, `tap` → `seal` → the others, until the monitor has gone.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ipc::schema");

using Failure = import "control.capnp".Failure;

struct ToSpawner {
  union {
    setup @0 :SpawnerSetup;
    # First, once. Descriptors: the programs vcpu-host and blk; net if there are cards. Answer: `done`.

    folder @1 :Void;
    # Makes the control folder. Answer: `done` with the sockets that listen there: the machine's, then each device's.

    cgroup @2 :Void;
    # Makes the machine's cgroup, if it needs one. Answer: `done`.

    tap @3 :UInt16;
    # The card's tap, ready for use. Answer: `tap` with a descriptor for each pair of queues. It goes when all are closed.

    seal @4 :Void;
    # Nothing more is set up. Answer: `done`.

    start @5 :ProcessStart;
    # Descriptors: its control socket and its log, of passt none; and the program if one is given. A process that is in the
    # slot ends first. Answer: `started`.

    kill @6 :UInt16;
    # The slot's process gets SIGKILL. Answer: `done`.

    end @7 :UInt16;
    # The same; when `done` comes it is gone, and the slot is free.

    exit @8 :UInt16;
    # How has the slot's process ended? Answer: `exit`, or `runs`.

    connect @9 :UInt16;
    # To somebody else's back end, of that device. Answer: `done` with the socket.

    plug @10 :UInt16;
    # The card's cable. Answer: `done` with a socket that is connected to who waits at its other end; or, if nobody does,
    # `listens` with one at which who comes can be accepted. Of a card with passt: `done` with a socket that is connected
    # to it, or `failed` with EAGAIN: it does not listen yet.

    unplug @11 :UInt16;
    # Nobody waits there any more. Answer: `done`.
  }
}

struct SpawnerSetup {
  name @0 :Text;                # the machine's
  control @1 :Text;             # the control folder
  disks @2 :UInt16;             # they and the cards have sockets there
  cards @3 :List(Card);
  backEnds @4 :List(Text);      # paths, by device
  cgroup @5 :Text;              # in which the machine's own is made; empty: the usual one
  memoryMib @6 :UInt32;         # its limits; 0: none
  processes @7 :UInt32;
  cpuPercent @8 :UInt32;
  ioWeight @9 :UInt32;

  struct Card {
    mtu @0 :UInt16;
    union {
      tap :group {
        name @1 :Text;          # empty: the kernel finds one
        bridge @2 :Text;        # empty: none
        queuePairs @3 :UInt16;
      }
      passt @4 :List(Text);     # its path and arguments
      cable @5 :Text;           # the path
    }
  }
}

struct ProcessStart {
  slot @0 :UInt16;              # one process is in each, below 63
  program @1 :Program;
  given @2 :Bool;               # another program in place of this one, of an operator's
  card @3 :UInt16;              # of passt
  openFiles @4 :UInt64;         # limits, see sandbox::Limits
  fileBytes @5 :UInt64;
  threads @6 :UInt64;
  enum Program {
    vcpuHost @0;
    blk @1;
    net @2;
    passt @3;
  }
}

struct SpawnerAnswer {
  union {
    done @0 :Void;
    failed @1 :Failure;
    started @2 :Int32;          # its pid. Descriptor: its pidfd
    exit @3 :ProcessExit;
    runs @4 :Void;
    listens @5 :Void;
    tap @6 :Text;               # the interface's name
  }
}

struct ProcessExit {
  killed @0 :Bool;
  value @1 :Int32;              # the signal if killed, the status otherwise
  call @2 :Int32;               # that its filter killed it for; see sandbox/violation.h
}
