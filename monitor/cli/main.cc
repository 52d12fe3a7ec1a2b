// bulkhead: the operator's tool. Parses what was asked, and becomes bulkhead-monitor to do it.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "monitor/cli/command_line.h"
#include "monitor/cli/doctor.h"
#include "monitor/cli/inspect.h"
#include "monitor/cli/launch.h"
#include "monitor/cli/machine_client.h"
#include "monitor/exit_status.h"

namespace cli {
namespace {

using monitor::ExitStatus;

// One line, whatever the operator's words contain.
int complain(std::string line, ExitStatus status) {
  std::ranges::replace_if(line, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  fmt::print(stderr, "bulkhead: {}\n", line);
  return static_cast<int>(status);
}

int carry_out(RunCommand command) {
  return complain(ipc::describe(launch(*command.machine, std::move(command.libexec))), ExitStatus::InternalError);
}

int carry_out(DoctorCommand command) {
  return static_cast<int>(run_doctor(command.report) ? ExitStatus::PoweredOff : ExitStatus::HostNotAble);
}

int carry_out(InspectCommand command) {
  const auto strong = inspect_machine(command.vm, command.json);
  if (!strong) return complain(ipc::describe(strong.error()), ExitStatus::BadConfiguration);
  return *strong ? 0 : 1;
}

int carry_out(RestartCommand command) {
  const auto restarted = restart_device(command.vm, command.device, command.binary);
  if (!restarted) return complain(ipc::describe(restarted.error()), ExitStatus::BadConfiguration);
  return 0;
}

int carry_out(ShowText command) {
  fmt::print("{}", command.text);
  return 0;
}

int main(std::span<char*> arguments) {
  auto command = parse_command_line(std::vector<std::string>(arguments.begin() + 1, arguments.end()));
  if (!command) return complain(ipc::describe(command.error()), ExitStatus::BadConfiguration);
  return std::visit([](auto& asked) { return carry_out(std::move(asked)); }, *command);
}

}  // namespace
}  // namespace cli

int main(int count, char** arguments) {
  return cli::main(std::span(arguments, static_cast<std::size_t>(count)));
}
