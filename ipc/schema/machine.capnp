@0xd3f1a86c0b5e4721;
# One virtual machine as its operator describes it: the command line, machine.json (through Cap'n
# Proto's JSON codec) and the message that `bulkhead` hands to `bulkhead-monitor` are views of this.
# Trust: written by the operator. Paths are opened by the monitor with the operator's rights and
# never go further than the monitor.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ipc::schema");

const maxCpus :UInt16 = 240;
# What fits 8-bit APIC ids, and one message with a descriptor for each.

const maxQueues :UInt16 = 64;

struct Machine {
  name @0 :Text;
  # Shown in messages and in the process list. 1 to 64 of [A-Za-z0-9._-]; empty: "vm".

  cpus @1 :UInt16 = 1;
  # Virtual CPUs, 1 to maxCpus and no more than the host's KVM allows.

  memoryMib @2 :UInt32 = 512;
  # Guest RAM in MiB, at least 16.

  kernel @3 :Text;
  # Path of a Linux bzImage, or of an ELF image with the PVH note.

  initrd @4 :Text;
  # Path of the initial RAM disk; empty: none.

  cmdline @5 :Text;
  # Kernel command line, at most 2047 bytes.

  disks @6 :List(Disk);
  devices @7 :List(Device);
  serial @8 :Serial;
  nets @9 :List(Net);

  control @10 :Text;
  # Path of a folder that is made for sockets by which operators ask the machine and its back ends, and goes with it;
  # empty: none. `bulkhead run --name NAME` means /run/bulkhead/NAME, or $XDG_RUNTIME_DIR/bulkhead/NAME.

  isolation @11 :Isolation;
  limits @12 :MachineLimits;
}

struct MachineLimits {
  # What all of the machine's processes but the monitor may use together, by a cgroup (v2) of their own. 0: no limit.

  memoryMib @0 :UInt32;
  # Guest RAM as far as it was used, what the host caches of the disks for them, and the processes' own: at least 64
  # more than the guest's. Beyond it the host's kernel kills one of them.

  processes @1 :UInt32;
  # Threads, and those that the kernel starts for their I/O.

  cpuPercent @2 :UInt32;
  # Of one CPU: 150 is one and a half.

  ioWeight @3 :UInt16;
  # 1 to 10000: their share of a disk's time beside others, who have 100.

  cgroup @4 :Text;
  # Path of a cgroup without processes, in which one of the machine's name is made; empty: /sys/fs/cgroup/bulkhead.
}

struct Isolation {
  # Layers without which the machine does not start. What is not named is used where the host has it.

  require @0 :List(Layer);
  landlockAbi @1 :UInt16;
  # Landlock of at least this version; 0: of any, or none.

  enum Layer {  # in the order of sandbox::layers()
    noNewPrivileges @0;
    notDumpable @1;
    denyWriteExecute @2;
    landlock @3;
    seccomp @4;
    coreScheduling @5;
  }
}

const maxQueuePairs :UInt16 = 31;
# With a control queue, below maxQueues.

struct Net {
  # A network card, and what is at the other end of its cable.

  union {
    tap @0 :Tap;
    user @1 :User;
    pair @2 :Text;
    # Path of a Unix socket: the first machine that names it waits there for the second.
  }

  mac @3 :Text;
  # "52:54:00:12:34:56"; empty: made of the machine's name and the card's place, always the same.

  mtu @4 :UInt16 = 1500;
  queuePairs @5 :UInt16 = 1;
  # Up to maxQueuePairs for a tap, 1 for others.

  allowSpoofing @6 :Bool;
  # The guest may send in the name of other MAC addresses, as a bridge or router inside of it must.

  addresses @7 :List(Text);
  # IPv4 and IPv6 addresses or prefixes that the guest may use; with one given, no others.

  flood @8 :UInt32;
  # Broadcasts and multicasts that it may send a second; 0: no limit.
}

struct Tap {
  name @0 :Text;
  # Of the interface, which is made if it is not there, and then goes with the machine; empty: the kernel finds one.

  bridge @1 :Text;
  # That it joins; empty: none.
}

struct User {
  # The host's own network as its user has it, by passt: no right is needed.

  forwards @0 :List(Text);
  # "tcp:2222:22": what the host receives on port 2222 goes to the guest's port 22; "udp:" likewise.
}

struct Disk {
  path @0 :Text;
  # A raw image file or a block device, a multiple of 512 bytes long.

  readonly @1 :Bool;

  serial @2 :Text;
  # What the guest reads as the disk's serial number, at most 20 bytes; empty: "disk0", "disk1", …

  queues @3 :UInt16;
  # Request queues, at most maxQueues; 0: one for each virtual CPU, at most 16.

  cache @4 :Cache;
  enum Cache {
    auto @0;        # direct where that is possible in sectors of 512 bytes, as the kernel tells since Linux 6.1
    direct @1;      # past the host's page cache
    writeback @2;   # through it
  }
}

struct Device {
  # A virtio device whose back end runs elsewhere and listens for a vhost-user front end.

  socket @0 :Text;
  # Path of the back end's listening Unix socket.

  id @1 :UInt16;
  # Virtio device id (virtio 1.2, 5), 1 to 63.

  queues @2 :UInt16 = 1;
  # Virtqueues, 1 to maxQueues.
}

struct Serial {
  union {
    stdio @0 :Void;   # the terminal or pipe that the command runs on
    pty @1 :Void;     # a new pseudo terminal, its name is printed
    file @2 :Text;    # output is appended to this file; no input
    none @3 :Void;    # output is thrown away
  }
}
