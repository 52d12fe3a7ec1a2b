#include "monitor/child_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "monitor/message.h"

namespace monitor {

using ipc::Result;
using ipc::UniqueFd;

namespace {

// How much of a flood is read for one wake-up: the other children wait for no longer than this.
constexpr int kReadsAtOnce = 4;
// Enough for the largest pipe that an unprivileged process can make of ours (pipe-max-size, 1 MiB).
constexpr int kLastDrains = 64;

}  // namespace

ChildLog::~ChildLog() {
  if (pipe_) loop_.unwatch(pipe_);
}

Result<UniqueFd> ChildLog::open() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return ipc::system_failure("make a log pipe");
  pipe_ = UniqueFd(ends[0]);
  UniqueFd theirs(ends[1]);
  ::fcntl(pipe_.get(), F_SETFL, O_NONBLOCK);  // our end alone: the two are different open files
  TRY(loop_.watch(pipe_, [this] { drain(); }));
  return theirs;
}

void ChildLog::drain() {
  std::array<char, 4096> bytes;
  for (int i = 0; pipe_ && i < kReadsAtOnce; ++i) {
    const ssize_t count = ::read(pipe_.get(), bytes.data(), bytes.size());
    if (count < 0) return;
    if (count == 0) {
      loop_.unwatch(pipe_);
      pipe_ = UniqueFd();
      return;
    }
    take({bytes.data(), static_cast<std::size_t>(count)}, Clock::now());
  }
}

void ChildLog::finish() {
  for (int i = 0; pipe_ && i < kLastDrains; ++i) drain();
  if (!partial_.empty()) emit(std::exchange(partial_, {}), Clock::now());
  if (suppressed_ > 0) line_(fmt::format("({} more lines)", std::exchange(suppressed_, 0)));
}

void ChildLog::take(std::string_view bytes, Clock::time_point now) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    if (!skipping_) partial_.append(part.substr(0, kMaxForeignText - std::min(partial_.size(), kMaxForeignText)));
    skipping_ = partial_.size() >= kMaxForeignText;
    if (end == std::string_view::npos) return;
    emit(std::exchange(partial_, {}), now);
    skipping_ = false;
    bytes.remove_prefix(end + 1);
  }
}

void ChildLog::emit(std::string_view line, Clock::time_point now) {
  const std::chrono::duration<double> passed = now - refilled_;
  tokens_ = std::min<double>(kBurst, tokens_ + passed.count() * kPerSecond);
  refilled_ = now;
  if (tokens_ < 1) {
    ++suppressed_;
    return;
  }
  tokens_ -= 1;
  if (suppressed_ > 0) line_(fmt::format("({} lines left out)", std::exchange(suppressed_, 0)));
  line_(printable(line));
}

}  // namespace monitor
