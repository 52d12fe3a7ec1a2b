// What bulkhead-net is asked to do when people or QEMU start it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/net/frame.h"
#include "backends/net/options.h"
#include "backends/program/common_options.h"

namespace net {

inline constexpr program::LimitKinds kLimitKinds = program::limit_kinds(
    {"--pps", "--pps-in", "--pps-out", "--bps", "--bps-in", "--bps-out"},
    {"frames a second, both ways", "frames a second to the guest", "frames a second from the guest",
     "bytes a second, both ways", "bytes a second to the guest", "bytes a second from the guest"});

enum class Way : std::uint8_t { None, Tap, TapFd, Packet, StreamPath, StreamFd, CablePath, CableFd, Null };

struct CommandLine {
  program::Common common;
  Way way = Way::None;
  std::string name;              // of an interface, or a path
  std::vector<int> descriptors;  // of our caller
  std::size_t null_bytes = 0;    // of each frame that comes out of nothing; 0: none comes
  Options options;
};

// `arguments` without the program's name; `passed` sockets are ours from descriptor 3 on, by systemd. --help,
// --version and --print-capabilities are answers.
std::expected<CommandLine, program::Answer> parse_command_line(std::span<char* const> arguments, int passed);

}  // namespace net
