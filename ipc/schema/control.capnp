@0xb8e02d5f97c4136a;
# The control plane between the monitor and its children, one SOCK_SEQPACKET socket for each child,
# one frame for each message. The monitor distrusts everything that a child says: a message names no
# path and no other child, and what does not fit the child's state ends the VM.
#
# A child's life: setup messages → it says `sealed` (or `failed`) → `start` → events.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ipc::schema");

struct Failure {
  code @0 :Int32;     # an errno value, 0: none fits
  context @1 :Text;   # for people; printed only after it was cut to 1 KiB of printable text
  kind @2 :Kind;
  enum Kind {
    configuration @0; # what the operator asked for cannot be done: a damaged kernel, a bad device
    host @1;          # the host lacks something
    internal @2;      # a defect of ours, or a peer that broke the protocol
  }
}

struct Seal {
  # What a child has taken from itself for good, as it says before the first byte of a guest's reaches it.
  layers @0 :UInt32;        # a bit for each of Isolation.Layer (machine.capnp) that holds
  landlockAbi @1 :UInt16;   # 0: none
}

struct ToVcpuHost {
  union {
    setup @0 :VcpuHostSetup;
    # First, once. Descriptors: guest RAM (a sealed memfd of memoryMib), the serial port's stream
    # socket, the kernel image, the initial RAM disk if hasInitrd.

    device @1 :DeviceSetup;
    # Once for each device, in the order of their PCI slots. Descriptors: a connection to its back end, one
    # kick eventfd for each queue, one call eventfd for each queue, one eventfd for configuration changes.
    # A connection is three: the vhost-user socket (connected), and a pair of sockets for the channel of
    # SET_BACKEND_REQ_FD, first the end that stays.

    load @2 :Void;
    # All devices are told: parse the kernel, greet the back ends, answer `loaded`.

    kvm @3 :KvmSetup;
    # Descriptor: /dev/kvm, lent for one KVM_CREATE_VM. Answer: `sealed`.

    start @4 :Void;
    powerButton @5 :Void;

    backEnd @6 :UInt16;
    # The device in this slot has another back end. Descriptors: a connection to it.
  }
}

struct VcpuHostSetup {
  memoryMib @0 :UInt32;
  cpus @1 :UInt16;
  cmdline @2 :Text;
  hasInitrd @3 :Bool;
}

struct DeviceSetup {
  virtioId @0 :UInt16;
  queues @1 :UInt16;
}

struct KvmSetup {
  vcpuMmapBytes @0 :UInt32;
  # KVM_GET_VCPU_MMAP_SIZE.
  cpuid @1 :Data;
  # What KVM_GET_SUPPORTED_CPUID gave: an array of struct kvm_cpuid_entry2.
}

struct FromVcpuHost {
  union {
    loaded @0 :Void;
    sealed @1 :Seal;
    # Descriptors: the VM's, then each vCPU's in order. The monitor keeps them: it owns their lifetime.

    failed @2 :Failure;
    poweredOff @3 :Void;     # the guest entered S5
    resetRequested @4 :Void; # by the reset register, the keyboard controller
    crashed @5 :Text;        # triple fault, or KVM cannot go on: the reason
    backEndLost @6 :BackEndLoss;
    backEndReplaced @7 :BackEndReplacement;
    # After `backEnd`: the new one serves.
  }
}

struct BackEndLoss {
  slot @0 :UInt16;       # index in the order of `device` messages
  reason @1 :Text;
  needsReset @2 :Bool;   # the driver has to begin anew (DEVICE_NEEDS_RESET); otherwise the device waits for another
}

struct BackEndReplacement {
  slot @0 :UInt16;
  gapMicroseconds @1 :UInt64;  # since the last one was lost
}

struct ToBackend {
  union {
    block @0 :BlockSetup;
    # First, once. Descriptors: the image, the vhost-user socket (connected), and where operators connect if it
    # has such a socket.

    network @1 :NetworkSetup;
    # First, once. Descriptors: the vhost-user socket (connected), where operators connect if it has such a socket,
    # then the way out: of a tap one for each pair of
    # queues, of others one, or none where nobody is at the other end yet.

    link @2 :Void;
    # After `linkLost`, or where there was none. Descriptor: a connection.
  }
}

struct NetworkSetup {
  kind @0 :Kind;
  enum Kind {
    tap @0;           # with IFF_VNET_HDR and a header of 12 bytes
    stream @1;        # a stream: each frame follows its length, 32 bits in network order
    cable @2;         # the same with a virtio-net header of 12 bytes before each frame, counted
  }
  mac @1 :Data;       # 6 bytes
  mtu @2 :UInt16;
  queuePairs @3 :UInt16;
  policy @4 :import "/ipc/schema/backend_control.capnp".Policy;
  name @5 :Text;        # what operators call the other end, no path: "tap bh0"
  hasOperators @6 :Bool; # a listening SOCK_SEQPACKET socket, which does not block (backend_control.capnp)
}

struct BlockSetup {
  readonly @0 :Bool;
  serial @1 :Text;    # at most 20 bytes
  queues @2 :UInt16;  # the most that the front end may use, 1 to maxQueues of machine.capnp
  hasOperators @3 :Bool;
  directOnly @5 :Bool;  # serve it by direct I/O or not at all; otherwise by what can be done
  unaligned @4 :Bool;
  # The image is open for direct I/O; one more descriptor, the last, is the same without, for requests that are not
  # aligned to its blocks.
}

struct FromBackend {
  union {
    sealed @0 :Seal;
    failed @1 :Failure;
    linkLost @2 :Void;     # of a stream or cable: its other end has gone, and the guest sees the link down
  }
}
