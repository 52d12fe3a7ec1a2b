// What operators ask of a running back end: `bulkhead-blk stats PATH` and so on.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/program/limit_options.h"
#include "backends/telemetry/reader.h"
#include "ipc/error.h"
#include "ipc/schema/backend_control.capnp.h"

namespace program {

// What `stats` shows at once.
struct Interval {
  double seconds;
  telemetry::Sample counted;  // during the interval
  telemetry::Sample now;      // at its end
};

// A command of one kind of device, which the back end answers by `done` or `failed`.
struct Command {
  std::string_view name;
  std::string_view description;
  std::function<void(CLI::App& app)> add_options;
  // After the options were read. An error: they make no sense.
  std::function<ipc::Result<>(ipc::schema::ControlRequest::Builder request)> fill;
};

// How a kind of device shows itself.
struct Commands {
  const LimitKinds& limits;
  // Both end with a newline.
  std::string (*table)(const Interval& interval, const telemetry::Reader& reader);
  std::string (*json)(const Interval& interval, const telemetry::Reader& reader);
  // Lines "name          value", and members of a JSON object without the braces. Text is passed through printable().
  std::string (*status_table)(ipc::schema::BackendStatus::Reader status);
  std::string (*status_json)(ipc::schema::BackendStatus::Reader status);
  std::vector<Command> more;
};

// A text of the back end inside of JSON.
std::string quoted(std::string_view text);

bool is_control_command(const Commands& commands, std::string_view word);

// `arguments` begin with the command. The exit status: 0, 1 on failure, 2 for options that make no sense.
int run_control_command(const Commands& commands, std::span<char* const> arguments);

}  // namespace program
