#include "tests/system/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <thread>
#include <utility>

namespace system_test {
namespace {

using Clock = std::chrono::steady_clock;

std::pair<ipc::UniqueFd, ipc::UniqueFd> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  return {ipc::UniqueFd(ends[0]), ipc::UniqueFd(ends[1])};
}

// Appends what is there; closes the pipe at its end.
void drain(ipc::UniqueFd& pipe, std::string& to) {
  std::array<char, 4096> buffer{};
  const ssize_t length = read(pipe.get(), buffer.data(), buffer.size());
  if (length <= 0) {
    pipe = ipc::UniqueFd();
    return;
  }
  to.append(buffer.data(), static_cast<std::size_t>(length));
}

}  // namespace

Command::Command(const std::vector<std::string>& arguments) {
  auto [input_read, input_write] = make_pipe();
  auto [output_read, output_write] = make_pipe();
  auto [error_read, error_write] = make_pipe();
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    dup2(input_read.get(), 0);
    dup2(output_write.get(), 1);
    dup2(error_write.get(), 2);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  // A guest that ended must not end the test.
  signal(SIGPIPE, SIG_IGN);
  input_ = std::move(input_write);
  output_pipe_ = std::move(output_read);
  error_pipe_ = std::move(error_read);
}

Command::~Command() {
  if (status_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Command::send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t length = write(input_.get(), text.data(), text.size());
    if (length <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(length));
  }
}

bool Command::receive(Seconds limit) {
  std::array<pollfd, 2> pipes{pollfd{output_pipe_.get(), POLLIN, 0}, pollfd{error_pipe_.get(), POLLIN, 0}};
  if (!output_pipe_ && !error_pipe_) return false;
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  if (milliseconds <= 0 || poll(pipes.data(), pipes.size(), static_cast<int>(milliseconds)) <= 0) return false;
  if (pipes[0].revents != 0) drain(output_pipe_, output_);
  if (pipes[1].revents != 0) drain(error_pipe_, errors_);
  return true;
}

std::optional<std::string> Command::read_until(std::string_view text, Seconds limit) {
  const auto end = Clock::now() + limit;
  for (;;) {
    if (const std::size_t at = output_.find(text, found_); at != std::string::npos) {
      std::string before = output_.substr(found_, at - found_);
      found_ = at + text.size();
      return before;
    }
    if (!receive(end - Clock::now())) return std::nullopt;
  }
}

bool Command::expect(std::string_view text, Seconds limit) {
  return read_until(text, limit).has_value();
}

std::optional<int> Command::wait(Seconds limit) {
  const auto end = Clock::now() + limit;
  while (!status_) {
    // What it still writes must not block it.
    if (output_pipe_ || error_pipe_) {
      receive(std::min<Seconds>(Seconds(0.02), end - Clock::now()));
    } else {
      std::this_thread::sleep_for(Seconds(0.005));
    }
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (Clock::now() > end) {
      return std::nullopt;
    }
  }
  while (receive(Seconds(0.1))) {
  }
  return status_;
}

Outcome run(const std::vector<std::string>& arguments, Seconds limit) {
  Command command(arguments);
  const std::optional<int> status = command.wait(limit);
  return {status.value_or(-1), command.output(), command.errors()};
}

}  // namespace system_test
