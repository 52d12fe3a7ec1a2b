@0xa7d5c1e94b3f6028;
# What an operator may ask of a back end that runs by itself, over its control socket: one frame of a
# SOCK_SEQPACKET socket for each message, one answer for each request, in their order. The back end trusts who
# may connect (root and the back end's own uid) to change what it does, and nobody to send well-formed messages:
# one that is not ends that connection.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ipc::schema");

struct ControlRequest {
  union {
    telemetry @0 :Void;      # answer: `telemetry`, and the descriptor of a memfd (backends/telemetry/layout.h)
    status @1 :Void;         # answer: `status`
    setLimits @2 :Limits;    # answer: `done` or `failed`; what is not in it stays as it is
    grow @3 :Void;           # a disk image has another size; answer: `done` or `failed`
    setLink @4 :Bool;        # a network card's cable is in, or pulled out; answer: `done` or `failed`
    setPolicy @5 :Policy;    # what a network card lets pass, all of it; answer: `done` or `failed`
  }
}

struct ControlAnswer {
  union {
    done @0 :Void;
    failed @1 :Text;         # the reason, for people
    telemetry @2 :Void;
    status @3 :BackendStatus;
  }
}

struct Rate {
  perSecond @0 :UInt64 = 0xffffffffffffffff;
  # 0: no limit. The default of both: not in the message.
  burst @1 :UInt64 = 0xffffffffffffffff;
  # 0: a tenth of a second's worth.
}

struct Rates {
  read @0 :Rate;
  write @1 :Rate;
  total @2 :Rate;
}

struct Limits {
  operations @0 :Rates;
  bytes @1 :Rates;
}

struct Policy {
  # Of a network card: what its guest may send, and what reaches it. bulkhead-net's --help tells of each.
  ownMacOnly @0 :Bool;
  addressesOnly @1 :Bool;    # no other source addresses than:
  ipv4 @2 :List(Text);       # "10.0.0.5/32"
  ipv6 @3 :List(Text);
  vlanRule @4 :VlanRule;
  vlans @5 :List(UInt16);
  flood @6 :Rate;            # broadcasts and multicasts a second
}

enum VlanRule {
  any @0;
  untaggedOnly @1;
  listed @2;
}

struct BackendStatus {
  version @0 :Text;
  uptimeMs @1 :UInt64;
  how @2 :Text;              # how requests are carried out
  connected @3 :Bool;        # a front end is
  connections @4 :UInt64;    # front ends since the start, this one included
  inForce @5 :Text;          # layers of the sandbox
  notInForce @6 :Text;
  limits @7 :Limits;         # all of them
  union {
    disk @8 :DiskStatus;
    network @9 :NetworkStatus;
  }
}

struct DiskStatus {
  sectors @0 :UInt64;        # of 512 bytes
  readOnly @1 :Bool;
}

struct NetworkStatus {
  mac @0 :Text;              # as the driver has it now
  linkUp @1 :Bool;
  way @2 :Text;              # where frames go
  policy @3 :Text;           # for people
}
