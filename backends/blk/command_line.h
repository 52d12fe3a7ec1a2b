// What bulkhead-blk is asked to do when people or QEMU start it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>

#include "backends/blk/options.h"
#include "backends/program/common_options.h"

namespace blk {

inline constexpr program::LimitKinds kLimitKinds =
    program::limit_kinds({"--iops", "--iops-read", "--iops-write", "--bps", "--bps-read", "--bps-write"},
                         {"requests a second", "reads a second", "all but reads a second",
                          "bytes a second, read and written", "bytes read a second", "bytes written a second"});

enum class Cache : std::uint8_t {
  Best,       // past the page cache if the image's file system can do so
  Direct,     // past the page cache
  Writeback,  // through it
};

struct CommandLine {
  program::Common common;
  std::string image;  // path, or as it was given for a disk that is none:
  std::optional<std::uint64_t> null_bytes;
  Cache cache = Cache::Best;
  bool read_only = false;
  Options options;
};

// `arguments` without the program's name; `passed` sockets are ours from descriptor 3 on, by systemd. --help,
// --version and --print-capabilities are answers.
std::expected<CommandLine, program::Answer> parse_command_line(std::span<char* const> arguments, int passed);

}  // namespace blk
