#include "backends/blk/command_line.h"

#include <string_view>

namespace blk {

using program::add_choice;
using program::Answer;
using program::refuse;

namespace {

// docs/interop/vhost-user.rst, "Back-end program conventions": type, then what of --read-only and
// --blk-file is understood.
constexpr std::string_view kCapabilities = R"({"type": "block", "features": ["read-only", "blk-file"]})";

// What an image is called that is none.
constexpr std::string_view kNull = "null:";

constexpr std::string_view kDescription =
    "Serves a raw disk image or block device to QEMU, Cloud Hypervisor, crosvm or any other vhost-user\n"
    "front end, as a process that can reach nothing but that disk.";

constexpr std::string_view kFooter = R"(
An example with QEMU:
  bulkhead-blk --socket-path=/run/disk.sock --blk-file=disk.img &
  qemu-system-x86_64 -m 1G \
    -object memory-backend-memfd,id=ram,size=1G,share=on -machine memory-backend=ram \
    -chardev socket,id=disk,path=/run/disk.sock,reconnect=1 \
    -device vhost-user-blk-pci,chardev=disk

It stays in the foreground, and listens again when the front end has gone. SIGTERM or SIGINT: requests
in flight complete, then it removes its sockets and exits. SIGHUP: the image has grown, and the guest is told.
Started by systemd with a socket, it needs neither --socket-path nor --fd.

With --control-path=PATH, root and the user that it runs as can ask it while it runs:
  bulkhead-blk stats PATH               what it does: rates, latencies, depth, kicks, interrupts
  bulkhead-blk status PATH              how it is set up, and whether a front end is connected
  bulkhead-blk set PATH --iops=5000     change limits
  bulkhead-blk grow PATH                as SIGHUP
Each has a --help of its own.

A second process that writes the image is kept out by a lock.

Guest memory must be sealed against shrinking, as QEMU's memory-backend-memfd is (seal=on, its default):
who could cut it short could kill this process. --accept-unsealed serves other memory all the same.

Exit status: 0 when asked to end, or when the connection of --fd has ended; 1 on failure; 2 for options
that make no sense. Without any option it is a child of bulkhead-monitor.
)";

}  // namespace

std::expected<CommandLine, Answer> parse_command_line(std::span<char* const> arguments, int passed) {
  CommandLine line;
  Options& options = line.options;
  CLI::App app(std::string(kDescription), "bulkhead-blk");
  app.footer(std::string(kFooter));
  app.add_option("--blk-file", line.image,
                 "the disk: a raw image file, a block device, or null:SIZE (which keeps nothing)")
      ->type_name("FILE");
  app.add_flag("--read-only", line.read_only, "open it for reading, and refuse writes");
  app.add_option("--serial", options.serial, "serial number, at most 20 bytes")->type_name("S");
  app.add_option("--num-queues", options.queues, "virtqueues, 1 to 64 (1)")->type_name("N");
  add_choice(app, "--cache", line.cache, {{"direct", Cache::Direct}, {"writeback", Cache::Writeback}},
             "past the page cache, or through it (direct where the file system can)");
  add_choice(app, "--on-error", options.on_error, {{"report", OnError::Report}, {"stop", OnError::Stop}},
             "of the disk: tell the guest, or stop and try again each second (report)");
  add_choice(app, "--lock", options.lock, {{"always", Lock::Always}, {"running", Lock::Running}},
             "keep other writers away: from now on, or while queues run, as live migration needs (always)");
  app.add_flag_callback(
      "--pin-memory", [&options] { options.memory = Memory::Pinned; },
      "keep all guest memory in RAM and at hand: less time for each request, and none of it can be given back");
  program::CommonOptions common(app, line.common, kLimitKinds);
  if (auto parsed = common.parse(arguments, passed, kCapabilities); !parsed)
    return std::unexpected(std::move(parsed).error());
  options.manner = line.common.manner;

  if (line.image.empty()) return refuse("--blk-file is missing: it tells which disk to serve");
  if (line.image.starts_with(kNull)) {
    line.null_bytes = program::bytes_of(line.image.substr(kNull.size()));
    if (!line.null_bytes)
      return refuse(fmt::format("--blk-file={}: null: and a size is right, as null:1G", line.image));
  }
  return line;
}

}  // namespace blk
