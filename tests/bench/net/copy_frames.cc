// Copies frames between two ends, both ways: a card's driver whose frames are a kernel's, or, with no card at all, the
// bare loop that a card's back end is measured by.
#include <fmt/format.h>

#include <array>
#include <string_view>

#include "tests/bench/net/end.h"

namespace bench {
namespace {

constexpr unsigned kBatch = 64;

struct Copied {
  unsigned frames = 0;
  bool blocked = false;  // there was no room for more
};

Copied copy(End& from, End& to) {
  Copied copied;
  while (copied.frames < kBatch) {
    const auto room = to.room();
    copied.blocked = !room;
    const auto frame = room ? from.receive(*room) : std::span<const iovec>();
    if (frame.empty()) break;
    to.send(frame);
    ++copied.frames;
  }
  from.flush();
  to.flush();
  return copied;
}

[[noreturn]] void run(End& one, End& other) {
  bool armed = false;
  while (true) {
    const Copied there = copy(one, other);
    const Copied back = copy(other, one);
    if (there.frames + back.frames > 0) continue;
    if (!std::exchange(armed, true)) {  // another look: what came before they tell of news is no news
      one.arm();
      other.arm();
      continue;
    }
    std::array<pollfd, 2> events{there.blocked ? other.has_room() : one.has_frames(),
                                 back.blocked ? one.has_room() : other.has_frames()};
    ::poll(events.data(), events.size(), -1);
    one.disarm();
    other.disarm();
    armed = false;
  }
}

std::unique_ptr<End> open_end(std::string_view text, bool offloads) {
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string name(colon == std::string_view::npos ? "" : text.substr(colon + 1));
  if (kind == "tap") return open_tap_end(name, offloads);
  if (kind == "card") return open_card_end(name, offloads);
  if (kind == "connect") return connect_cable_end(name);
  if (kind == "accept") return accept_cable_end(name);
  throw Failure(fmt::format("{}: tap:NAME, card:PATH, connect:PATH or accept:PATH is right", text));
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const bool plain = argc == 4 && std::string_view(argv[3]) == "plain";
  if (argc != 3 && !plain) {
    fmt::print(stderr, "usage: copy_frames END END [plain]   (plain: without offloads)\n");
    return 2;
  }
  try {
    const auto one = bench::open_end(argv[1], !plain);
    const auto other = bench::open_end(argv[2], !plain);
    bench::run(*one, *other);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "copy_frames: {}\n", failure.what());
    return 1;
  }
}
