// What bulkhead-blk is asked to do when people or QEMU start it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

#include "backends/blk/isolation.h"
#include "backends/blk/limit_options.h"
#include "backends/blk/options.h"

namespace blk {

enum class Cache : std::uint8_t {
  Best,       // past the page cache if the image's file system can do so
  Direct,     // past the page cache
  Writeback,  // through it
};

struct CommandLine {
  Sandbox sandbox = Sandbox::Best;
  std::string socket_path;   // where to listen; empty: `socket` is the vhost-user socket
  int socket = -1;           // connected or listening; of our caller
  std::string control_path;  // where operators connect; empty: nowhere
  std::string image;         // path, or as it was given for a disk that is none:
  std::optional<std::uint64_t> null_bytes;
  Cache cache = Cache::Best;
  bool read_only = false;
  Options options;
  limits::Limits limits;
};

// To be printed, and to exit with: 0 on stdout, others on stderr.
struct Answer {
  int status;
  std::string text;  // ends with a newline
};

// `arguments` without the program's name; `passed` sockets are ours from descriptor 3 on, by systemd. --help,
// --version and --print-capabilities are answers.
std::expected<CommandLine, Answer> parse_command_line(std::span<char* const> arguments, int passed);

}  // namespace blk
