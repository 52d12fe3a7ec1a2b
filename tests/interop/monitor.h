// QEMU's monitor (QMP), over a Unix socket.
#pragma once

#include <string>

#include "ipc/unique_fd.h"
#include "tests/system/command.h"

namespace interop {

class Monitor {
 public:
  // Connects as soon as somebody listens at `path`. Throws if nobody does in time.
  explicit Monitor(const std::string& path);

  // The reply to a command, one line of JSON; `arguments` is a JSON object. Throws where QEMU is silent or refuses.
  std::string ask(const std::string& command, const std::string& arguments = "{}");
  // Asks until the reply has `text` in it; false: not within the limit.
  bool ask_until(const std::string& command, const std::string& text, system_test::Seconds limit);

 private:
  std::string line();

  ipc::UniqueFd socket_;
  std::string unread_;
};

}  // namespace interop
