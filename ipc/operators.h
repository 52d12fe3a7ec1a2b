// The clients of a control socket: who may connect, how often they may ask, one answer for each request.
#pragma once

#include <functional>
#include <list>
#include <memory>

#include "ipc/control_channel.h"
#include "ipc/event_loop.h"

namespace ipc {

// Never waits for a client. Each round of the loop reads at most one message of each, and of all together not
// more than kRequestsPerSecond: who asks for more is disconnected.
class Operators {
 public:
  static constexpr std::size_t kMaxClients = 8;
  static constexpr unsigned kRequestsPerSecond = 100;

  struct Handler {
    // Answers `request` to `client`. An error ends that connection. Runs guarded.
    std::function<Result<>(Frame& request, ControlChannel& client)> answer;
    // What to write down of clients that were refused: a bounded number of lines.
    std::function<void(const std::string& line)> log;
  };

  // `listener` listens as SOCK_SEQPACKET and does not block. It and `loop` are borrowed and outlive this. Admits root
  // and the uid that we have now.
  static Result<std::unique_ptr<Operators>> create(const UniqueFd& listener, EventLoop& loop, Handler handler);
  ~Operators();
  Operators(const Operators&) = delete;
  Operators& operator=(const Operators&) = delete;

 private:
  using Client = std::list<ControlChannel>::iterator;

  Operators(const UniqueFd& listener, EventLoop& loop, Handler handler);
  void admit();
  Result<> try_admit(UniqueFd connection);
  void serve(Client client);
  Result<> answer(ControlChannel& client);
  bool too_many();
  void log(const std::string& line);

  const UniqueFd& listener_;
  EventLoop& loop_;
  Handler handler_;
  const unsigned own_uid_;
  std::list<ControlChannel> clients_;
  std::uint64_t second_ = 0;  // of the monotonic clock
  unsigned requests_ = 0;     // in it
  unsigned lines_logged_ = 0;
};

}  // namespace ipc
