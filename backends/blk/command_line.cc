#include "backends/blk/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>

namespace blk {
namespace {

// docs/interop/vhost-user.rst, "Back-end program conventions": type, then what of --read-only and
// --blk-file is understood.
constexpr std::string_view kCapabilities = R"({"type": "block", "features": ["read-only", "blk-file"]})";

// What an image is called that is none.
constexpr std::string_view kNull = "null:";
constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START

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

class Reader {
 public:
  Reader() {
    app_.footer(std::string(kFooter));
    path_ = app_.add_option("--socket-path", line_.socket_path, "listen on this Unix socket")->type_name("PATH");
    fd_ =
        app_.add_option("--fd", line_.socket, "the socket is this descriptor, connected or listening")->type_name("N");
    app_.add_option("--blk-file", line_.image,
                    "the disk: a raw image file, a block device, or null:SIZE (which keeps nothing)")
        ->type_name("FILE");
    app_.add_flag("--read-only", line_.read_only, "open it for reading, and refuse writes");
    app_.add_option("--serial", line_.options.serial, "serial number, at most 20 bytes")->type_name("S");
    app_.add_option("--num-queues", line_.options.queues, "virtqueues, 1 to 64 (1)")->type_name("N");
    add_choice("--cache", line_.cache, {{"direct", Cache::Direct}, {"writeback", Cache::Writeback}},
               "past the page cache, or through it (direct where the file system can)");
    add_choice("--on-error", line_.options.on_error, {{"report", OnError::Report}, {"stop", OnError::Stop}},
               "of the disk: tell the guest, or stop and try again each second (report)");
    add_choice("--sandbox", line_.sandbox, {{"best", Sandbox::Best}, {"require", Sandbox::Required}},
               "give up what the host lets us, or refuse to start where that is not all (best)");
    add_choice("--lock", line_.options.lock, {{"always", Lock::Always}, {"running", Lock::Running}},
               "keep other writers away: from now on, or while queues run, as live migration needs (always)");
    add_choice("--engine", line_.options.engine, {{"io_uring", EngineChoice::IoUring}, {"plain", EngineChoice::Plain}},
               "how I/O is made (io_uring where the host has it)");
    line_.options.poll = Poll::Adaptive;
    add_choice("--poll", line_.options.poll, {{"off", Poll::Off}, {"adaptive", Poll::Adaptive}, {"busy", Poll::Busy}},
               "look for requests instead of sleeping: never, for a while when that pays, always (adaptive)");
    app_.add_option("--poll-limit", poll_limit_, "microseconds that --poll=adaptive looks, at most (200)")
        ->type_name("US")
        ->check(CLI::Range(1, 10'000));
    app_.add_option("--threads", line_.options.threads, "threads that share the virtqueues, 1 to their number (1)")
        ->type_name("N");
    app_.add_option("--cpus", line_.options.cpus, "CPUs to run on, one for each thread: 2,3")
        ->type_name("LIST")
        ->delimiter(',');
    app_.add_flag("--accept-unsealed", unsealed_, "serve memory that its owner can cut short");
    app_.add_option("--control-path", line_.control_path, "listen on this Unix socket for stats, status, set and grow")
        ->type_name("PATH");
    add_limit_options(app_, limits_);
    const std::string capabilities = "print what QEMU's conventions want to know, as JSON";
    app_.add_flag("--print-capabilities", capabilities);
    const std::string version = "print the version";
    app_.add_flag("--version", version);
  }

  std::expected<CommandLine, Answer> read(std::span<char* const> arguments, int passed) {
    try {
      app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp&) {
      return std::unexpected(Answer{0, app_.help()});
    } catch (const CLI::ParseError& error) {
      return refuse(error.what());
    }
    if (path_->count() + fd_->count() == 0 && passed > 0) {
      if (passed != 1) return refuse(fmt::format("{} sockets of systemd's: one is right", passed));
      line_.socket = kFirstPassed;
    } else if (path_->count() + fd_->count() != 1) {
      return refuse("exactly one of --socket-path and --fd is right");
    }
    if (path_->count() == 1 && line_.socket_path.empty()) return refuse("--socket-path: empty");
    if (fd_->count() == 1 && line_.socket < 3)
      return refuse(fmt::format("--fd={}: a number of 3 or more is right", line_.socket));
    if (line_.image.empty()) return refuse("--blk-file is missing: it tells which disk to serve");
    if (line_.image.starts_with(kNull)) {
      line_.null_bytes = bytes_of(line_.image.substr(kNull.size()));
      if (!line_.null_bytes)
        return refuse(fmt::format("--blk-file={}: null: and a size is right, as null:1G", line_.image));
    }
    line_.options.poll_limit = poll_limit_ * 1000;
    if (const auto alone = limits_.burst_without_rate({})) return refuse(*alone);
    limits_.apply_to(line_.limits);
    if (unsealed_) line_.options.sealing = virtio::Sealing::Optional;
    return line_;
  }

 private:
  static std::unexpected<Answer> refuse(std::string_view why) {
    return std::unexpected(Answer{2, fmt::format("bulkhead-blk: {}\n", why)});
  }

  template <class T>
  void add_choice(const std::string& name, T& value, std::vector<std::pair<std::string, T>> choices,
                  const std::string& what) {
    std::string words;
    for (const auto& [word, meaning] : choices) words += (words.empty() ? "" : "|") + word;
    app_.add_option(name, value, what)->type_name(words)->transform(CLI::CheckedTransformer(choices).description(""));
  }

  CLI::App app_{std::string(kDescription), "bulkhead-blk"};
  CommandLine line_;
  LimitChanges limits_;
  bool unsealed_ = false;
  std::uint32_t poll_limit_ = 200;
  CLI::Option* path_;
  CLI::Option* fd_;
};

}  // namespace

std::expected<CommandLine, Answer> parse_command_line(std::span<char* const> arguments, int passed) {
  const auto given = [&](std::string_view option) {
    return std::ranges::any_of(arguments, [&](const char* argument) { return argument == option; });
  };
  // By the conventions all others are ignored then.
  if (given("--print-capabilities")) return std::unexpected(Answer{0, fmt::format("{}\n", kCapabilities)});
  if (given("--version")) return std::unexpected(Answer{0, fmt::format("bulkhead-blk {}\n", BULKHEAD_VERSION)});
  return Reader().read(arguments, passed);
}

}  // namespace blk
