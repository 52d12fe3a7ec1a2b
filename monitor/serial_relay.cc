#include "monitor/serial_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "ipc/unix_socket.h"

namespace monitor {

using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::size_t kChunkBytes = 4096;
constexpr int kRoundsAtOnce = 16;
constexpr char kEscape = 1;  // Ctrl-A

// Flags belong to an open file, which we share with our caller: a terminal or pipe is opened anew to get
// our own O_NONBLOCK. What can't be opened anew, or never blocks, is used as it is.
UniqueFd own_open_file(int fd, int mode) {
  struct stat status{};
  if (::fstat(fd, &status) == 0 && (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode))) {
    UniqueFd own(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (own) return own;
  }
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

bool is_socket(const UniqueFd& fd) {
  struct stat status{};
  return ::fstat(fd.get(), &status) == 0 && S_ISSOCK(status.st_mode);
}

bool would_block() {
  return errno == EAGAIN || errno == EINTR;
}

}  // namespace

Result<std::unique_ptr<SerialRelay>> SerialRelay::create(ipc::EventLoop& loop, const SerialConfiguration& configuration,
                                                         Hooks hooks) {
  std::unique_ptr<SerialRelay> relay(new SerialRelay(loop, std::move(hooks)));
  TRY(relay->open(configuration));
  if (relay->input_.fd) TRY(relay->examine(relay->input_));
  if (relay->output_.fd) TRY(relay->examine(relay->output_));
  relay->update_watches();
  return relay;
}

SerialRelay::~SerialRelay() {
  close(input_);
  close(output_);
  close(socket_);
  if (original_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*original_);
}

Result<> SerialRelay::open(const SerialConfiguration& configuration) {
  if (std::holds_alternative<SerialStdio>(configuration)) return open_stdio();
  if (std::holds_alternative<SerialPty>(configuration)) return open_pty();
  if (const auto* file = std::get_if<SerialFile>(&configuration)) {
    output_.fd = UniqueFd(::open(file->path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640));
    if (!output_.fd) return ipc::system_failure(fmt::format("serial: file {}", file->path));
  }
  return {};
}

Result<> SerialRelay::open_stdio() {
  input_.fd = own_open_file(STDIN_FILENO, O_RDONLY);
  output_.fd = own_open_file(STDOUT_FILENO, O_WRONLY);
  if (!output_.fd) return ipc::system_failure("serial: standard output");
  if (input_.fd && ::isatty(STDIN_FILENO) == 1) make_raw();
  return {};
}

Result<> SerialRelay::open_pty() {
  UniqueFd leader(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  std::array<char, 64> name{};
  if (!leader || ::grantpt(leader.get()) != 0 || ::unlockpt(leader.get()) != 0 ||
      ::ptsname_r(leader.get(), name.data(), name.size()) != 0)
    return ipc::system_failure("serial: make a pseudo terminal");
  pty_follower_ = UniqueFd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty_follower_) return ipc::system_failure(fmt::format("serial: open {}", name.data()));
  termios raw{};
  ::tcgetattr(pty_follower_.get(), &raw);
  ::cfmakeraw(&raw);
  ::tcsetattr(pty_follower_.get(), TCSANOW, &raw);
  output_.fd = UniqueFd(::fcntl(leader.get(), F_DUPFD_CLOEXEC, 0));
  input_.fd = std::move(leader);
  if (!output_.fd) return ipc::system_failure("serial: the pseudo terminal");
  hooks_.tell(fmt::format("serial port on {}", name.data()));
  return {};
}

void SerialRelay::make_raw() {
  termios settings{};
  // In the background a change of the terminal would stop us.
  if (::tcgetpgrp(STDIN_FILENO) != ::getpgrp() || ::tcgetattr(STDIN_FILENO, &settings) != 0) return;
  original_ = settings;
  ::cfmakeraw(&settings);
  settings.c_oflag |= OPOST;  // our own messages end with a line feed alone
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &settings);
  hooks_.tell("serial port on this terminal; Ctrl-A x stops the machine, Ctrl-A p presses its power button");
}

// Whether epoll takes it.
Result<> SerialRelay::examine(Endpoint& endpoint) {
  endpoint.is_socket = is_socket(endpoint.fd);
  const auto watched = loop_.watch(endpoint.fd, [this] { pump(); });
  if (!watched && watched.error().code != EPERM) return watched;
  endpoint.can_wake = endpoint.watched = watched.has_value();
  return {};
}

Result<UniqueFd> SerialRelay::attach() {
  auto ends = TRY(ipc::StreamPair::make());
  close(socket_);
  socket_.fd = std::move(ends.ours);
  TRY(examine(socket_));
  pump();
  return std::move(ends.theirs);
}

void SerialRelay::detach() {
  using Clock = std::chrono::steady_clock;
  const auto limit = Clock::now() + std::chrono::milliseconds(kLongestFlushMs);
  for (;;) {
    pump();
    if (to_operator_.empty() && !socket_.fd) return;
    if (Clock::now() >= limit) break;
    if (!output_.can_wake) continue;  // a regular file: pump() makes progress
    pollfd wait{.fd = output_.fd.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&wait, 1, kFlushLimitMs) == 0) break;
  }
  to_operator_.clear();
  close(socket_);
}

void SerialRelay::pump() {
  // Bounded, and both ways in each round: a vcpu-host that floods keeps nobody else waiting. What is left
  // wakes us again.
  bool moved = true;
  for (int round = 0; moved && round < kRoundsAtOnce; ++round) {
    moved = move_to_operator();
    moved |= move_to_guest();
  }
  update_watches();
}

// One step of guest output. False if there was nothing that could be done.
bool SerialRelay::move_to_operator() {
  bool moved = false;
  if (socket_.fd && to_operator_.size() < kBufferBytes) {
    std::array<char, kChunkBytes> bytes;
    const ssize_t count = ::recv(socket_.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count > 0) {
      // Without a reader the line is unplugged: what is sent is lost, as on a real one.
      if (output_.fd) to_operator_.append(bytes.data(), static_cast<std::size_t>(count));
      moved = true;
    } else if (count == 0 || !would_block()) {
      close(socket_);
    }
  }
  if (!to_operator_.empty() && output_.fd) {
    // A shared terminal that could not be opened anew may block: a small write after a check does not.
    pollfd ready{.fd = output_.fd.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, 0) < 1) return moved;
    const std::size_t size = std::min(to_operator_.size(), kChunkBytes);
    const ssize_t count = output_.is_socket
                              ? ::send(output_.fd.get(), to_operator_.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                              : ::write(output_.fd.get(), to_operator_.data(), size);
    if (count > 0) {
      to_operator_.erase(0, static_cast<std::size_t>(count));
      moved = true;
    } else if (count == 0 || !would_block()) {
      hooks_.tell(fmt::format("serial port: its output is lost from here on: {}", std::strerror(errno)));
      close(output_);
      to_operator_.clear();
    }
  }
  return moved;
}

// One step of the operator's input.
bool SerialRelay::move_to_guest() {
  bool moved = false;
  if (input_.fd && socket_.fd && to_guest_.size() < kChunkBytes) {
    std::array<char, kChunkBytes> bytes;
    pollfd ready{.fd = input_.fd.get(), .events = POLLIN, .revents = 0};
    const ssize_t count = ::poll(&ready, 1, 0) < 1 ? -1 : ::read(input_.fd.get(), bytes.data(), bytes.size());
    if (count > 0) {
      take_input({bytes.data(), static_cast<std::size_t>(count)});
      moved = true;
    } else if (count == 0 || (ready.revents != 0 && !would_block())) {
      close(input_);  // the end of a pipe or file: the machine goes on without input
    }
  }
  if (!to_guest_.empty() && socket_.fd) {
    const ssize_t count = ::send(socket_.fd.get(), to_guest_.data(), to_guest_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      to_guest_.erase(0, static_cast<std::size_t>(count));
      moved = true;
    }
  }
  return moved;
}

void SerialRelay::take_input(std::string_view bytes) {
  if (!original_) {  // no terminal, no escape key
    to_guest_.append(bytes);
    return;
  }
  for (const char c : bytes) {
    if (!escaped_ && c == kEscape) {
      escaped_ = true;
      continue;
    }
    if (std::exchange(escaped_, false) && c != kEscape) {
      if (c == 'x') hooks_.stop();
      if (c == 'p') hooks_.power_button();
      continue;
    }
    to_guest_.push_back(c);
  }
}

// Level-triggered: only what could be moved may wake us.
void SerialRelay::update_watches() {
  const bool room_for_input = socket_.fd && to_guest_.size() < kChunkBytes;
  const bool silent_input = input_.fd && !input_.can_wake;  // a regular file: the guest's end wakes us for it
  wake_for(input_, room_for_input, false);
  wake_for(output_, false, !to_operator_.empty());
  wake_for(socket_, to_operator_.size() < kBufferBytes, !to_guest_.empty() || silent_input);
}

// Who is watched for nothing would still wake us without end once the other side has hung up.
void SerialRelay::wake_for(Endpoint& endpoint, bool readable, bool writable) {
  if (!endpoint.fd || !endpoint.can_wake) return;
  if (!readable && !writable) {
    if (std::exchange(endpoint.watched, false)) loop_.unwatch(endpoint.fd);
    return;
  }
  if (!endpoint.watched) endpoint.watched = loop_.watch(endpoint.fd, [this] { pump(); }).has_value();
  if (endpoint.watched) static_cast<void>(loop_.watch_for(endpoint.fd, readable, writable));
}

void SerialRelay::close(Endpoint& endpoint) {
  if (endpoint.watched) loop_.unwatch(endpoint.fd);
  endpoint = Endpoint();
}

}  // namespace monitor
