// The guest's serial line between vcpu-host's socket and the operator's terminal, pty or file. Bytes
// pass; none is looked at but the operator's own escape key.
#pragma once

#include <termios.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ipc/event_loop.h"
#include "monitor/configuration.h"

namespace monitor {

class SerialRelay {
 public:
  // The operator's wishes by the escape key (Ctrl-A): x, p.
  struct Hooks {
    std::function<void()> stop;
    std::function<void()> power_button;
    std::function<void(const std::string& text)> tell;
  };

  static ipc::Result<std::unique_ptr<SerialRelay>> create(ipc::EventLoop& loop,
                                                          const SerialConfiguration& configuration, Hooks hooks);
  ~SerialRelay();  // the terminal is as it was
  SerialRelay(const SerialRelay&) = delete;
  SerialRelay& operator=(const SerialRelay&) = delete;

  // A new socket pair for a new vcpu-host: returns its end.
  ipc::Result<ipc::UniqueFd> attach();
  // The vcpu-host of the last attach() has ended: passes on all that it had written, waiting for the
  // operator's side for at most kFlushLimitMs without progress, and kLongestFlushMs in all.
  void detach();
  static constexpr int kFlushLimitMs = 2'000;
  static constexpr int kLongestFlushMs = 10'000;

 private:
  // One of the operator's descriptors. It may be one that epoll refuses (a regular file): always ready.
  struct Endpoint {
    ipc::UniqueFd fd;
    bool can_wake = false;  // epoll takes it
    bool watched = false;
    bool is_socket = false;
  };

  SerialRelay(ipc::EventLoop& loop, Hooks hooks) : loop_(loop), hooks_(std::move(hooks)) {}
  ipc::Result<> open(const SerialConfiguration& configuration);
  ipc::Result<> open_stdio();
  ipc::Result<> open_pty();
  ipc::Result<> examine(Endpoint& endpoint);
  void make_raw();
  void pump();
  bool move_to_operator();
  bool move_to_guest();
  void take_input(std::string_view bytes);
  void update_watches();
  void wake_for(Endpoint& endpoint, bool readable, bool writable);
  void close(Endpoint& endpoint);

  ipc::EventLoop& loop_;
  Hooks hooks_;
  Endpoint input_;
  Endpoint output_;
  ipc::UniqueFd pty_follower_;  // kept open: a pty whose other side has no opener hangs up
  Endpoint socket_;
  std::string to_operator_;  // both at most kBufferBytes
  std::string to_guest_;
  bool escaped_ = false;
  std::optional<termios> original_;
};

}  // namespace monitor
