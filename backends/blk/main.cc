// bulkhead-blk: serves one disk to one vhost-user front end at a time, sealed off from everything else.
#include "backends/blk/assigned_disk.h"
#include "backends/blk/command_line.h"
#include "backends/blk/disk_product.h"
#include "backends/program/listener.h"
#include "backends/program/standalone.h"
#include "backends/serve/log.h"

int main(int argc, char** argv) {
  serve::set_program_name("bulkhead-blk");
  if (argc == 1) return program::serve_monitor(blk::accept_disk);
  const std::span arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  const program::Commands commands = blk::disk_commands();
  if (program::is_control_command(commands, arguments.front()))
    return program::run_control_command(commands, arguments);
  const auto command = blk::parse_command_line(arguments, program::Listener::passed_by_systemd());
  if (!command) return program::print(command.error());
  return program::serve_standalone(command->common, [&] { return blk::open_disk(*command); });
}
