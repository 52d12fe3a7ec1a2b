// bulkhead-net: serves one network card to one vhost-user front end at a time, sealed off from everything else.
#include "backends/net/assigned_card.h"
#include "backends/net/card_product.h"
#include "backends/net/command_line.h"
#include "backends/program/listener.h"
#include "backends/program/standalone.h"
#include "backends/serve/log.h"

int main(int argc, char** argv) {
  serve::set_program_name("bulkhead-net");
  if (argc == 1) return program::serve_monitor(net::accept_card);
  const std::span arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  const program::Commands commands = net::card_commands();
  if (program::is_control_command(commands, arguments.front()))
    return program::run_control_command(commands, arguments);
  const auto command = net::parse_command_line(arguments, program::Listener::passed_by_systemd());
  if (!command) return program::print(command.error());
  return program::serve_standalone(command->common, [&] { return net::open_card(*command); });
}
