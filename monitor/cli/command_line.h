// What the operator typed, as one of the things that `bulkhead` can do.
#pragma once

#include <capnp/message.h>

#include <memory>
#include <span>
#include <string>
#include <variant>

#include "ipc/error.h"
#include "monitor/cli/doctor.h"

namespace cli {

struct RunCommand {
  std::unique_ptr<capnp::MallocMessageBuilder> machine;  // its root is an ipc::schema::Machine
  std::string libexec;                                   // where bulkhead-monitor is; empty: beside this program
};

struct DoctorCommand {
  Report report = Report::Table;
};

struct InspectCommand {
  std::string vm;
  bool json = false;
};

struct RestartCommand {
  std::string vm;
  std::string device;
  std::string binary;  // empty: the program that it has
};

struct ShowText {
  std::string text;  // help or version
};

using Command = std::variant<RunCommand, DoctorCommand, InspectCommand, RestartCommand, ShowText>;

// `arguments` are those after the program's name. Reads machine.json if one is named. An error is one
// line that names the option, file or key and what would be right.
ipc::Result<Command> parse_command_line(std::span<const std::string> arguments);

}  // namespace cli
