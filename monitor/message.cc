#include "monitor/message.h"

#include <fmt/format.h>
#include <unistd.h>

namespace monitor {

std::string printable(std::string_view foreign) {
  std::string text(foreign.substr(0, kMaxForeignText));
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

void say(std::string_view name, std::string_view text) {
  const std::string line = fmt::format("bulkhead: {}: {}\n", name, text);
  // One write, so that lines of several machines on one terminal stay whole. There is nowhere to
  // report that stderr is gone.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace monitor
