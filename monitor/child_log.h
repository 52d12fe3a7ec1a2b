// A child's stderr: lines that nobody trusts, bounded in length and number.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "ipc/event_loop.h"

namespace monitor {

class ChildLog {
 public:
  using Line = std::function<void(std::string_view line)>;  // printable
  using Clock = std::chrono::steady_clock;

  // As many lines at once, and so many more each second; what is beyond is counted, and told later.
  static constexpr unsigned kBurst = 50;
  static constexpr unsigned kPerSecond = 5;

  ChildLog(ipc::EventLoop& loop, Line line) : loop_(loop), line_(std::move(line)) {}
  ~ChildLog();
  ChildLog(const ChildLog&) = delete;
  ChildLog& operator=(const ChildLog&) = delete;

  // Makes the pipe and returns the end for the child.
  ipc::Result<ipc::UniqueFd> open();

  // Takes in what is there, without waiting.
  void drain();
  // After the child has ended: all that is left, also a last line without an end.
  void finish();

  // The part behind the pipe, for any bytes at any time.
  void take(std::string_view bytes, Clock::time_point now);

 private:
  void emit(std::string_view line, Clock::time_point now);

  ipc::EventLoop& loop_;
  Line line_;
  ipc::UniqueFd pipe_;
  std::string partial_;
  bool skipping_ = false;  // the rest of a line that was too long
  double tokens_ = kBurst;
  Clock::time_point refilled_{};
  std::size_t suppressed_ = 0;
};

}  // namespace monitor
