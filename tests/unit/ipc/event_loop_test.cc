#include "ipc/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "ipc/unix_socket.h"
#include "tests/support/catch.h"

using ipc::EventLoop;
using ipc::UniqueFd;

namespace {

UniqueFd event(unsigned value) {
  return UniqueFd(::eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK));
}

EventLoop make_loop() {
  auto loop = EventLoop::create();
  REQUIRE(loop);
  return std::move(*loop);
}

}  // namespace

SCENARIO("A readable descriptor calls back until it is unwatched") {
  EventLoop loop = make_loop();
  const UniqueFd ready = event(1);
  int calls = 0;
  REQUIRE(loop.watch(ready, [&] { ++calls; }));
  REQUIRE(loop.run_once(0));
  REQUIRE(loop.run_once(0));
  CHECK(calls == 2);
  loop.unwatch(ready);
  REQUIRE(loop.run_once(0));
  CHECK(calls == 2);
}

SCENARIO("The end of a peer calls back, what it has sent does not") {
  EventLoop loop = make_loop();
  auto pair = ipc::StreamPair::make();
  REQUIRE(pair);
  int calls = 0;
  REQUIRE(loop.watch_end(pair->ours, [&] { ++calls; }));
  REQUIRE(::write(pair->theirs.get(), "x", 1) == 1);
  REQUIRE(loop.run_once(0));
  CHECK(calls == 0);
  pair->theirs = UniqueFd();
  REQUIRE(loop.run_once(0));
  CHECK(calls == 1);
  loop.unwatch(pair->ours);
  REQUIRE(loop.run_once(0));
  CHECK(calls == 1);
}

SCENARIO("A callback may unwatch itself and others that are ready") {
  EventLoop loop = make_loop();
  const UniqueFd first = event(1);
  const UniqueFd second = event(1);
  int calls = 0;
  const auto stop_both = [&] {
    ++calls;
    loop.unwatch(first);
    loop.unwatch(second);
  };
  REQUIRE(loop.watch(first, stop_both));
  REQUIRE(loop.watch(second, stop_both));
  REQUIRE(loop.run_once(0));
  CHECK(calls == 1);
}

SCENARIO("Writability is watched on request") {
  EventLoop loop = make_loop();
  const UniqueFd idle = event(0);
  int calls = 0;
  REQUIRE(loop.watch(idle, [&] { ++calls; }));
  REQUIRE(loop.run_once(0));
  CHECK(calls == 0);
  REQUIRE(loop.watch_writable(idle, true));
  REQUIRE(loop.run_once(0));
  CHECK(calls == 1);
  REQUIRE(loop.watch_writable(idle, false));
  REQUIRE(loop.run_once(0));
  CHECK(calls == 1);
}

SCENARIO("stop() ends run()") {
  EventLoop loop = make_loop();
  const UniqueFd ready = event(1);
  REQUIRE(loop.watch(ready, [&] { loop.stop(); }));
  CHECK(loop.run());
}
