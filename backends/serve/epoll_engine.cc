#include "backends/serve/epoll_engine.h"

#include <limits>
#include <utility>

namespace serve {

ipc::Result<std::unique_ptr<EpollEngine>> EpollEngine::create(const EngineNeeds& needs) {
  ipc::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ipc::system_failure("epoll_create1");
  std::unique_ptr<EpollEngine> engine(new EpollEngine(needs, std::move(epoll)));
  engine->events_.reserve(engine->slots());
  engine->failed_.reserve(engine->slots());
  return engine;
}

ipc::Result<> EpollEngine::set_file(unsigned slot, const ipc::UniqueFd& file) {
  files_[slot] = file.get();
  return {};
}

void EpollEngine::clear_file(unsigned slot) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, files_[slot], nullptr);  // fails where nothing was waited for
  files_[slot] = -1;
}

void EpollEngine::add(unsigned slot, std::uint32_t events, Token token) {
  epoll_event event{.events = events, .data = {.u64 = token.encode()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, files_[slot], &event) == 0) return;
  if (errno == EEXIST && ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, files_[slot], &event) == 0) return;
  failed_.push_back({token, -errno, false});
}

void EpollEngine::poll(unsigned slot, Token token) {
  add(slot, EPOLLIN | EPOLLONESHOT, token);
}

void EpollEngine::watch(unsigned slot, Token token) {
  add(slot, EPOLLIN | EPOLLET, token);
}

void EpollEngine::unwatch(unsigned slot, Token) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, files_[slot], nullptr);
}

// A file has one entry: the event comes with the token that it is watched with, and if it is writable at once.
void EpollEngine::await_room(unsigned slot, Token token) {
  token.queue = 0;  // as watch() was told: see the declaration
  add(slot, EPOLLIN | EPOLLOUT | EPOLLET, token);
}

ipc::Result<std::span<const Event>> EpollEngine::wait(Wait wait) {
  constexpr std::uint64_t kMillisecond = 1'000'000;
  const std::uint64_t ceiling = wait.at_most / kMillisecond + (wait.at_most % kMillisecond != 0 ? 1 : 0);
  int timeout = ceiling > std::numeric_limits<int>::max() ? -1 : static_cast<int>(ceiling);
  events_.clear();
  std::swap(events_, failed_);
  if (!events_.empty()) timeout = 0;
  const int count = ::epoll_wait(epoll_.get(), ready_.data(), static_cast<int>(ready_.size()), timeout);
  if (count < 0 && errno != EINTR) return ipc::system_failure("epoll_wait");
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = ready_[static_cast<std::size_t>(i)];
    const Token token = Token::decode(event.data.u64);
    const bool once = token.op == Op::FrontEnd || token.op == Op::Control;  // what poll() is for
    events_.push_back({token, static_cast<int>(event.events), !once});
  }
  return std::span<const Event>(events_);
}

}  // namespace serve
