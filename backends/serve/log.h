// What a back end says to people: lines on stderr, each with the program's name in front.
#pragma once

#include <string_view>

namespace serve {

// "bulkhead-blk": set once, first of all that main() does. `name` outlives all use of it.
void set_program_name(std::string_view name);
std::string_view program_name();

void say(std::string_view line);

}  // namespace serve
