// The texts of --help that are more than a line.
#pragma once

#include <string_view>

namespace cli {

inline constexpr std::string_view kMainHelp =
    "Runs virtual machines whose every part is a process of its own, in a sandbox of its own.";

inline constexpr std::string_view kMainFooter = R"(
Examples:
  bulkhead doctor
      Tells whether this host can run virtual machines, and what to do if it cannot.
  bulkhead run --kernel vmlinuz --cmdline "root=/dev/vda console=ttyS0" --disk path=debian.img
      Boots a Linux kernel with one disk; its serial console is this terminal.

  bulkhead inspect web1
      Tells what each process of the machine that was started by --name web1 may do.
  bulkhead device restart web1 blk0
      Replaces the process behind its first disk, while the guest runs.

"bulkhead run --help" and so on tell more.)";

inline constexpr std::string_view kCommands = "run, inspect, device or doctor";

inline constexpr std::string_view kControlHelp =
    "a folder to be made for the sockets by which operators ask: control, and one for each disk and card, for "
    "bulkhead-blk and bulkhead-net (stats, status, set, link, policy); with --name: /run/bulkhead/NAME, or "
    "$XDG_RUNTIME_DIR/bulkhead/NAME for who is not root";

inline constexpr std::string_view kRequireHelp =
    "a layer of isolation without which the machine does not start: no-new-privileges, not-dumpable, "
    "deny-write-execute, landlock, landlock:N (at least ABI N), seccomp, core-scheduling; once for each; what is not "
    "named is used "
    "where the host has it";

inline constexpr std::string_view kLimitsHelp =
    "[memory=SIZE][,processes=N][,cpu=PERCENT][,io-weight=N][,cgroup=PATH]: what all of its processes may use "
    "together, "
    "by a cgroup of their own: memory with the guest's RAM, threads, CPU time (150: of one CPU and a half), share of "
    "the disks' time (others have 100); made in the cgroup PATH, which no process is in (/sys/fs/cgroup/bulkhead)";

inline constexpr std::string_view kInspectHelp = "tell what each process of a running machine may do";

inline constexpr std::string_view kInspectFooter = R"(
For each process: uid, namespaces, threads, capabilities, descriptors, mappings, limits, as /proc tells; the system
calls that pass its filters, as the kernel has them (for root; a thread stands still for less than a millisecond);
what it said when it was sealed; and how often a back end was replaced, why, and how long the guest waited. What is
weaker than it should be, or than --require and machine.json ask, is marked WEAK.

Examples:
  bulkhead run --name web1 --kernel vmlinuz --disk path=root.img
  bulkhead inspect web1
  bulkhead-blk stats /run/bulkhead/web1/blk0

Exit status:
  0  every process is as strong as it should be
  1  one is not
  2  no such machine, or wrong usage)";

inline constexpr std::string_view kDeviceHelpText = "replace the process behind a device of a running machine";

inline constexpr std::string_view kDeviceFooter = R"(
The guest waits some milliseconds, and loses nothing. A new program that does not come to serve is given up, and the
old one started again.

Examples:
  bulkhead device restart web1 blk0
  bulkhead device restart web1 blk0 --binary /usr/libexec/bulkhead-blk.new)";

inline constexpr std::string_view kRunHelp = "run one virtual machine until it powers off";

inline constexpr std::string_view kDiskHelp =
    "path=FILE[,readonly=on|off][,serial=TEXT][,queues=N][,cache=auto|direct|writeback]: a raw image or a block "
    "device; "
    "once for each disk; cache=auto goes past the host's page cache where that can be done in sectors of 512 bytes; "
    "a comma inside of a value is written twice";

inline constexpr std::string_view kNetHelp =
    "tap[=NAME][,bridge=NAME]: an interface of this host, which goes with the machine; user[,hostfwd=\"tcp:2222:22 "
    "...\"]: this host's network as you have it, by passt; pair=PATH: a cable to the machine that names the same path. "
    "For each: mac=MAC (made of the machine's name), mtu=N, queues=N (tap), address=\"10.0.0.5 fd00::5\" (the only "
    "ones "
    "that the guest may use), spoofing=on (it may use other MAC addresses), flood=N (broadcasts a second); once for "
    "each card";

inline constexpr std::string_view kDeviceHelp =
    "vhost-user,socket=PATH,id=NUMBER[,queues=N]: a virtio device that another program serves; NUMBER is its "
    "virtio device id (1 network, 2 disk, 4 entropy, 26 file system, ...); once for each device";

inline constexpr std::string_view kSerialHelp =
    "the first serial port: stdio, pty (its name is printed), none, file=PATH (output is appended) (stdio)";

inline constexpr std::string_view kRunFooter = R"(
Examples:
  bulkhead run --kernel vmlinuz --initrd initrd.img --cmdline "root=/dev/vda1 console=ttyS0" \
               --disk path=debian.img --cpus 4 --memory 2G
  bulkhead run --kernel vmlinuz --disk path=root.img,readonly=on --disk path=data.img,serial=data,queues=2
  bulkhead run --kernel vmlinuz --disk path=root.img --net user,hostfwd=tcp:2222:22
  bulkhead run --kernel vmlinuz --disk path=root.img --net tap,bridge=br0 --net pair=/run/lab/cable
  bulkhead run --kernel vmlinuz --device vhost-user,socket=/run/fs.sock,id=26,queues=2
  bulkhead run machine.json --name web1
  bulkhead run --kernel vmlinuz --disk path=root.img --require landlock:4 --require deny-write-execute
  bulkhead run --kernel vmlinuz --disk path=root.img --memory 1G --limits memory=1280M,processes=100,cpu=150

machine.json says the same; what it leaves out has the same defaults:
  {"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "root=/dev/vda1 console=ttyS0",
   "cpus": 4, "memoryMib": 2048,
   "disks": [{"path": "debian.img", "readonly": false, "serial": "data", "queues": 2}],
   "nets": [{"tap": {"name": "web1", "bridge": "br0"}, "mac": "52:54:00:12:34:56", "mtu": 9000, "queuePairs": 2},
            {"user": {"forwards": ["tcp:2222:22"]}}, {"pair": "/run/lab/cable"}],
   "devices": [{"socket": "/run/fs.sock", "id": 26, "queues": 2}],
   "serial": {"file": "console.log"}, "control": "/run/bulkhead/web1",
   "isolation": {"require": ["denyWriteExecute", "seccomp"], "landlockAbi": 4},
   "limits": {"memoryMib": 2560, "processes": 100, "cpuPercent": 400, "ioWeight": 100}}
The serial port is one of {"stdio": null}, {"pty": null}, {"none": null}, {"file": "PATH"}.

SIGTERM presses the power button; a second one, or SIGINT, ends the machine at once.

Exit status:
  0      the guest powered off
  2      wrong usage, or a machine that cannot be: the message names what is wrong
  3      this host is not able to run it (see bulkhead doctor)
  4      the guest crashed (triple fault), or KVM cannot go on
  5      a process of the machine was lost
  6      an error inside of Bulkhead
  128+N  signal N ended the machine)";

inline constexpr std::string_view kDoctorHelp = "tell whether this host can run virtual machines";

inline constexpr std::string_view kDoctorFooter = R"(
Each line is ok, MISSING or missing, with what to do. Guests run without what is "missing", slower or with
one layer of protection less. The last line says the verdict. Beside asking the kernel, doctor runs a few
instructions in a virtual machine of its own: some hosts have a /dev/kvm that cannot run a whole kernel.

Examples:
  bulkhead doctor
  bulkhead doctor --json | jq -r '.checks[] | select(.ok | not) | .name'

Exit status:
  0  this host can run unmodified guests (--kernel: its KVM runs an unmodified kernel)
  2  wrong usage
  3  it cannot)";

}  // namespace cli
