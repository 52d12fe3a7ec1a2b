// What bulkhead-blk is asked to do when people or QEMU start it.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "backends/blk/device.h"

namespace blk {

struct CommandLine {
  std::string socket_path;  // where to listen; empty: `socket` is the vhost-user socket
  int socket = -1;          // connected or listening; of our caller
  std::string image;        // path
  bool read_only = false;
  Options options;
};

// To be printed, and to exit with: 0 on stdout, others on stderr.
struct Answer {
  int status;
  std::string text;  // ends with a newline
};

// `arguments` without the program's name. --help, --version and --print-capabilities are answers.
std::expected<CommandLine, Answer> parse_command_line(std::span<char* const> arguments);

}  // namespace blk
