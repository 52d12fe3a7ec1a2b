// A command line as a test writes it, and the machine that came of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ipc/schema/machine.capnp.h"
#include "monitor/cli/command_line.h"

namespace cli::test {

using Words = std::vector<std::string>;

class Asked {
 public:
  explicit Asked(const Words& words) : command_(parse_command_line(words)) {}

  // What the operator reads; empty where the command line is right.
  std::string error() const { return command_ ? "" : ipc::describe(command_.error()); }

  // None where the command line is wrong or asks for something else.
  template <class Kind>
  const Kind* as() const {
    return command_ ? std::get_if<Kind>(&*command_) : nullptr;
  }

  std::optional<ipc::schema::Machine::Reader> machine() const {
    const auto* run = as<RunCommand>();
    if (run == nullptr) return std::nullopt;
    return run->machine->getRoot<ipc::schema::Machine>().asReader();
  }

 private:
  ipc::Result<Command> command_;
};

inline std::string text(capnp::Text::Reader value) {
  return {value.begin(), value.size()};
}

}  // namespace cli::test
