// A process that a test talks to through pipes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/unique_fd.h"

namespace system_test {

using Seconds = std::chrono::duration<double>;

class Command {
 public:
  explicit Command(const std::vector<std::string>& arguments);
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  ~Command();  // kills it

  pid_t pid() const { return pid_; }
  void send(std::string_view text);
  // The text has come out on standard output, not counting what an earlier call has found; false: it
  // ended or the time is over.
  bool expect(std::string_view text, Seconds limit);
  // As expect(); what came before the text. Nothing when it did not come.
  std::optional<std::string> read_until(std::string_view text, Seconds limit);
  // Its exit status, 128 + N for signal N; nothing: it still runs.
  std::optional<int> wait(Seconds limit);

  const std::string& output() const { return output_; }
  const std::string& errors() const { return errors_; }

 private:
  bool receive(Seconds limit);

  pid_t pid_ = -1;
  ipc::UniqueFd input_, output_pipe_, error_pipe_;
  std::string output_, errors_;
  std::size_t found_ = 0;  // end of what expect() has found in output_
  std::optional<int> status_;
};

struct Outcome {
  int status;
  std::string output, errors;
};

// Runs it to its end; status -1: not within the limit.
Outcome run(const std::vector<std::string>& arguments, Seconds limit = Seconds(120));

}  // namespace system_test
