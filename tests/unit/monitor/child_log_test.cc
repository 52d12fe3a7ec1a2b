// What a child writes to its stderr reaches the operator in bounded, harmless lines.
#include "monitor/child_log.h"

#include "monitor/message.h"
#include "tests/support/catch.h"

using monitor::ChildLog;

namespace {

using std::chrono::seconds;

struct Fixture {
  ipc::EventLoop loop = std::move(ipc::EventLoop::create().value());
  std::vector<std::string> lines;
  ChildLog log{loop, [this](std::string_view line) { lines.emplace_back(line); }};
  ChildLog::Clock::time_point now = ChildLog::Clock::now();

  void take(std::string_view bytes) { log.take(bytes, now); }
};

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("foreign text becomes at most 1 KiB of printable ASCII") {
  CHECK(monitor::printable("a word, ~!") == "a word, ~!");
  CHECK(monitor::printable("\x1b[2J\r\n\t\x7f\xff\xc3\xa9") == "?[2J???????");
  CHECK(monitor::printable(std::string_view("a\0b", 3)) == "a?b");
  CHECK(monitor::printable(std::string(5000, 'x')) == std::string(1024, 'x'));
}

TEST_CASE("a line comes out when it ends, however it was cut into pieces") {
  Fixture child;
  child.take("one\ntw");
  CHECK(child.lines == Lines{"one"});
  child.take("o");
  child.take("\n\nfour\n");
  CHECK(child.lines == Lines{"one", "two", "", "four"});
}

TEST_CASE("a line is cut at 1 KiB, and the next one is whole") {
  Fixture child;
  const auto length = GENERATE(1024u, 1025u, 100'000u);
  const auto piece = GENERATE(1u, 1000u, 1024u, 200'000u);
  const std::string text = std::string(length, 'x') + "\nnext\n";
  for (std::size_t at = 0; at < text.size(); at += piece) child.take(std::string_view(text).substr(at, piece));
  CHECK(child.lines == Lines{std::string(1024, 'x'), "next"});
}

TEST_CASE("control characters do not reach the terminal") {
  Fixture child;
  child.take("\x1b]0;title\x07\r\n");
  CHECK(child.lines == Lines{"?]0;title??"});
}

TEST_CASE("50 lines at once and 5 each second come out, the others are counted") {
  Fixture child;
  for (int i = 0; i < 80; ++i) child.take("x\n");
  CHECK(child.lines.size() == 50);
  child.now += seconds(1);
  for (int i = 0; i < 20; ++i) child.take("y\n");
  CHECK(child.lines.size() == 50 + 1 + 5);
  CHECK(child.lines[50] == "(30 lines left out)");
  CHECK(child.lines[51] == "y");
  SECTION("the count of what is left out last comes at the end") {
    child.log.finish();
    CHECK(child.lines.back() == "(15 more lines)");
  }
  SECTION("a quiet time earns no more than 50") {
    child.now += seconds(100'000);
    child.lines.clear();
    for (int i = 0; i < 80; ++i) child.take("z\n");
    CHECK(child.lines.size() == 1 + 50);
  }
}

TEST_CASE("a last line without an end comes out at the end") {
  Fixture child;
  child.take("terminate called");
  CHECK(child.lines.empty());
  child.log.finish();
  CHECK(child.lines == Lines{"terminate called"});
  child.log.finish();
  CHECK(child.lines.size() == 1);
}

TEST_CASE("100 MB make a bounded number of bounded lines") {
  Fixture child;
  const bool ends = GENERATE(false, true);
  std::string megabyte(1'000'000, 'x');
  if (ends) {
    for (std::size_t at = 9; at < megabyte.size(); at += 10) megabyte[at] = '\n';
  }
  for (int i = 0; i < 100; ++i) {
    child.now += std::chrono::milliseconds(10);
    child.take(megabyte);
  }
  child.log.finish();
  CHECK(child.lines.size() <= (ends ? 2 * (50 + 5) + 1 : 1));
  for (const std::string& line : child.lines) CHECK(line.size() <= 1024);
}

TEST_CASE("what a child wrote before its end comes out whole, as much as its pipe held") {
  Fixture child;
  auto pipe = child.log.open();
  REQUIRE(pipe);
  const std::string text = std::string(60'000, 'x') + "\nthe cause";
  REQUIRE(::write(pipe->get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  *pipe = ipc::UniqueFd();
  child.log.finish();
  CHECK(child.lines == Lines{std::string(1024, 'x'), "the cause"});
}

TEST_CASE("a pipe that stays open and silent keeps nobody waiting, and one that ends is not watched on") {
  Fixture child;
  auto pipe = child.log.open();
  REQUIRE(pipe);
  child.log.drain();
  REQUIRE(::write(pipe->get(), "hello\n", 6) == 6);
  REQUIRE(child.loop.run_once(1000));
  CHECK(child.lines == Lines{"hello"});
  *pipe = ipc::UniqueFd();
  REQUIRE(child.loop.run_once(1000));
  child.log.finish();
  CHECK(child.lines == Lines{"hello"});
}
