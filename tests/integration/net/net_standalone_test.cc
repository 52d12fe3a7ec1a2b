// bulkhead-net by itself: its command line, its operators' commands, and its life beside a front end and a network.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/integration/net/served_card.h"
#include "tests/support/catch.h"
#include "tests/system/processes.h"

using Catch::Matchers::Contains;
using support::Bytes;
using support::kCard;
using support::kPeer;
using support::make_frame;
using system_test::Outcome;
using system_test::run;
using system_test::Seconds;

namespace {

std::vector<std::string> with(const std::string& first, const std::vector<std::string>& more) {
  std::vector<std::string> all{integration::net_program(), first};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// A back end whose way out is a stream to the test.
struct Served : integration::ServedCard {
  explicit Served(bool headers = false) : cable(headers) { start(); }

  void start() {
    ServedCard::start({(cable ? "--cable-path=" : "--stream-path=") + folder.file("network"),
                       "--control-path=" + folder.file("control")});
    accept();
    await_service();
  }
  void accept() {
    network = std::make_unique<support::Network>(
        ipc::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), cable);
  }
  bool connect() { return ServedCard::connect(virtio::feature_bit(VIRTIO_NET_F_STATUS)); }

  bool passes(const Bytes& frame) { return transmit(frame) && network->receive() == frame; }
  bool drops(const Bytes& frame) { return transmit(frame) && network->silent(); }

  Outcome ask(const std::string& command, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{folder.file("control")};
    all.insert(all.end(), more.begin(), more.end());
    return run(with(command, all));
  }

  bool says_link(const std::string& state) const {
    for (int i = 0; i < 100; ++i) {
      if (ask("status").output.find("link " + state) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  const bool cable;
  ipc::UniqueFd listener = support::listen_on(folder.file("network"));
  std::unique_ptr<support::Network> network;
};

}  // namespace

SCENARIO("net alone: what makes no sense is one line that names it", "[net-standalone]") {
  struct Case {
    std::vector<std::string> options;
    int status;
    std::string said;
  };
  const auto [options, status, said] = GENERATE(
      Case{{}, 2, "exactly one way out is right"}, Case{{"--null", "--tap=t"}, 2, "exactly one way out is right"},
      Case{{"--null", "--mac=53:54:00:01:02:03"}, 2, "--mac=53:54:00:01:02:03"},
      Case{{"--null", "--mtu=67"}, 1, "MTU 67"}, Case{{"--null", "--queue-pairs=32"}, 2, "--queue-pairs"},
      Case{{"--null", "--vlans=4095"}, 2, "--vlans=4095"}, Case{{"--null", "--address=10.0.0"}, 2, "--address=10.0.0"},
      Case{{"--null=13"}, 2, "--null=13"}, Case{{"--null", "--threads=2"}, 1, "2 threads"},
      Case{{"--stream-fd=2"}, 2, "descriptor 2"}, Case{{"--packet=nothing-here"}, 1, "interface nothing-here"},
      Case{{"--stream-path=/nowhere"}, 1, "stream /nowhere"}, Case{{"--tap=a/b"}, 1, "interface \"a/b\""},
      Case{{"--packet=lo", "--queue-pairs=2"}, 2, "--queue-pairs"}, Case{{"--null", "--what"}, 2, "--what"});
  const support::Folder folder;
  const Outcome outcome = run(with("--socket-path=" + folder.file("card"), options));
  INFO(outcome.errors);
  CHECK(outcome.status == status);
  CHECK_THAT(outcome.errors, Catch::Matchers::StartsWith("bulkhead-net: ") && Contains(said));
  CHECK(std::ranges::count(outcome.errors, '\n') == 1);
  CHECK_FALSE(std::filesystem::exists(folder.file("card")));
}

SCENARIO("net alone: operators see it and change it while it runs", "[net-standalone]") {
  Served net;
  REQUIRE(net.connect());
  const Bytes own = make_frame(100, kPeer, kCard);
  const Bytes forged = make_frame(100, kPeer, kPeer);
  CHECK(net.passes(own));
  CHECK(net.passes(forged));

  CHECK(net.ask("policy", {"--own-mac-only"}).status == 0);
  CHECK(net.drops(forged));
  CHECK(net.passes(own));
  CHECK_THAT(net.ask("status").output, Contains("52:54:00:01:02:03, link up") && Contains("own MAC only"));
  CHECK_THAT(net.ask("stats", {"--once"}).output, Contains("spoof-mac"));
  const Outcome wrong = net.ask("policy", {"--address=10.0.0"});
  CHECK(wrong.status == 1);
  CHECK_THAT(wrong.errors, Contains("--address=10.0.0"));
  CHECK(net.drops(forged));  // what was refused changed nothing
  CHECK(net.ask("policy").status == 0);
  CHECK(net.passes(forged));

  CHECK(net.ask("link", {"down"}).status == 0);
  CHECK(net.drops(own));
  CHECK_THAT(net.ask("status", {"--json"}).output, Contains(R"("link_up": false)"));
  CHECK(net.ask("link", {"up"}).status == 0);
  CHECK(net.passes(own));
  CHECK(net.ask("link", {"sideways"}).status == 2);
  CHECK(net.ask("grow").status == 2);  // a disk's

  CHECK(net.ask("set", {"--pps-out=10", "--pps-out-burst=2"}).status == 0);
  CHECK_THAT(net.ask("status").output, Contains("pps-out 10 (burst 2)"));
}

SCENARIO("net alone: limits hold, and what they hold back is not lost", "[net-standalone]") {
  Served net;
  REQUIRE(net.connect());
  constexpr int kFrames = 60;
  REQUIRE(net.ask("set", {"--pps-out=100", "--pps-out-burst=10"}).status == 0);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kFrames; ++i) REQUIRE(net.passes(make_frame(100, kPeer, kCard)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  // 50 beyond the burst take at least half a second: never faster, whatever the machine does meanwhile.
  CHECK(took.count() >= 0.48);
}

SCENARIO("net alone: a stream that ends takes the link down, and it is connected again when somebody listens there",
         "[net-standalone]") {
  Served net(GENERATE(false, true));
  const Bytes frame = make_frame(100, kPeer, kCard);
  REQUIRE(net.connect());
  REQUIRE(net.passes(frame));
  GIVEN("a network that has gone for a moment") {
    net.network.reset();
    net.accept();
  }
  GIVEN("one that ends every connection at once, and then no more") {
    for (int i = 0; i < 2; ++i) {
      net.network.reset();
      net.accept();
    }
  }
  GIVEN("one that has gone with its path") {
    net.listener = ipc::UniqueFd();
    net.network.reset();
    std::filesystem::remove(net.folder.file("network"));
    CHECK(net.says_link("down"));
    CHECK(net.transmit(frame));  // a driver's buffers come back meanwhile
    net.listener = support::listen_on(net.folder.file("network"));
    net.accept();
  }
  GIVEN("no front end when it goes") {
    net.front_end.reset();
    if (GENERATE(false, true)) net.network->send(frame);  // which nobody will read
    net.network.reset();
    CHECK(net.says_link("down"));
    net.accept();
    CHECK(net.says_link("up"));
    REQUIRE(net.connect());
  }
  CHECK(net.says_link("up"));
  CHECK(net.passes(frame));
  REQUIRE(::kill(net.card->pid(), SIGTERM) == 0);
  CHECK(net.card->wait(Seconds(10)) == 0);
  CHECK_THAT(net.card->errors(),
             Contains("the other end has gone: the link is down") && Contains("the other end is back: the link is up"));
}

SCENARIO("net alone: with the card goes the process that connects again, even where nobody accepts",
         "[net-standalone]") {
  Served net;
  REQUIRE(net.connect());
  net.network.reset();
  std::vector<ipc::UniqueFd> waiting;  // until there is room for no more
  while (waiting.size() < 100) {
    auto one = ipc::connect_unix(net.folder.file("network"), SOCK_STREAM | SOCK_NONBLOCK);
    if (!one) break;
    waiting.push_back(std::move(*one));
  }
  REQUIRE(waiting.size() < 100);
  CHECK(net.says_link("down"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // it has tried
  const auto helpers = system_test::children_of(net.card->pid());
  REQUIRE(helpers.size() == 3);  // and the keepers of two sockets' paths
  REQUIRE(::kill(net.card->pid(), SIGKILL) == 0);
  net.card->wait(Seconds(10));
  for (int i = 0; i < 40 && std::ranges::any_of(helpers, system_test::exists); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  for (const auto& helper : helpers) CHECK_FALSE(system_test::exists(helper));
}

SCENARIO("net alone: it ends when asked, comes back when killed, and serves one front end after the other",
         "[net-standalone]") {
  Served net;
  for (int i = 0; i < 2; ++i) {
    REQUIRE(net.connect());
    CHECK(net.passes(make_frame(100, kPeer, kCard)));
    net.front_end.reset();
  }
  GIVEN("a kill") {
    REQUIRE(::kill(net.card->pid(), SIGKILL) == 0);
    CHECK(net.card->wait(Seconds(10)) == 128 + SIGKILL);
    net.start();
    REQUIRE(net.connect());
    CHECK(net.passes(make_frame(100, kPeer, kCard)));
  }
  REQUIRE(::kill(net.card->pid(), SIGTERM) == 0);
  CHECK(net.card->wait(Seconds(10)) == 0);
  CHECK_FALSE(std::filesystem::exists(net.folder.file("card")));
  CHECK_FALSE(std::filesystem::exists(net.folder.file("control")));
}
