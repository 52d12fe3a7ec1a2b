// bulkhead-blk: serves one disk to one vhost-user front end at a time, sealed off from everything else.
#include <cstdio>

#include "backends/blk/command_line.h"
#include "backends/blk/control_commands.h"
#include "backends/blk/listener.h"
#include "backends/blk/monitored.h"
#include "backends/blk/standalone.h"

int main(int argc, char** argv) {
  if (argc == 1) return blk::serve_monitor();
  const std::span arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  if (blk::is_control_command(arguments.front())) return blk::run_control_command(arguments);
  const auto command = blk::parse_command_line(arguments, blk::Listener::passed_by_systemd());
  if (command) return blk::serve_standalone(*command);
  const blk::Answer& answer = command.error();
  fmt::print(answer.status == 0 ? stdout : stderr, "{}", answer.text);
  return answer.status;
}
