// Lines for the operator on stderr.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace monitor {

inline constexpr std::size_t kMaxForeignText = 1024;

// What a child said, fit for a terminal: at most kMaxForeignText bytes, all of them printable.
std::string printable(std::string_view foreign);

// "bulkhead: NAME: TEXT" as one line. `text` is ours, or printable().
void say(std::string_view name, std::string_view text);

}  // namespace monitor
