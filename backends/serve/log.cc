#include "backends/serve/log.h"

#include <fmt/format.h>

#include <cstdio>

namespace serve {
namespace {

std::string_view own_name = "back end";

}  // namespace

void set_program_name(std::string_view name) {
  own_name = name;
}

std::string_view program_name() {
  return own_name;
}

void say(std::string_view line) {
  fmt::print(stderr, "{}: {}\n", own_name, line);
}

}  // namespace serve
