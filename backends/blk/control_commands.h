// What operators ask of a running bulkhead-blk: `bulkhead-blk stats PATH` and so on.
#pragma once

#include <span>
#include <string_view>

namespace blk {

bool is_control_command(std::string_view word);

// `arguments` from the command on. The exit status: 0; 1 on failure; 2 for options that make no sense.
int run_control_command(std::span<char* const> arguments);

}  // namespace blk
