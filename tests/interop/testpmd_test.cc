// bulkhead-net under DPDK's virtio-user, as testpmd drives it. What a test sends by the card's way out, a stream,
// testpmd sends back.
#include <unistd.h>

#include <filesystem>
#include <random>

#include "tests/support/catch.h"
#include "tests/support/folder.h"
#include "tests/support/network.h"
#include "tests/system/command.h"

using support::Bytes;
using support::Folder;
using support::Network;
using system_test::Command;
using system_test::Seconds;

namespace {

const char* const kTestpmd = "/usr/bin/dpdk-testpmd";

std::string program() {
  const char* const folder = std::getenv("BULKHEAD_BIN");
  return std::string(folder == nullptr ? "." : folder) + "/bulkhead-net";
}

// testpmd with one virtio-user port of these properties. DPDK has one memory for all its processes, unless it is told.
std::vector<std::string> testpmd(const Folder& folder, const std::string& port, const std::string& mode,
                                 const std::string& queues = "1") {
  return {kTestpmd,
          "-l",
          "0,1",
          "--no-huge",
          "-m",
          "256",
          "--no-pci",
          "--no-telemetry",
          "--single-file-segments",
          "--file-prefix=" + folder.name(),
          "--vdev=net_virtio_user0,path=" + folder.file("card") + ",queue_size=256,queues=" + queues + "," + port,
          "--",
          "--interactive",
          "--auto-start",
          "--total-num-mbufs=4096",
          "--forward-mode=" + mode,
          "--port-topology=loop",
          "--rxq=" + queues,
          "--txq=" + queues};
}

}  // namespace

TEST_CASE("testpmd: each frame comes back as it was sent, in its place", "[interop][net]") {
  if (::access(kTestpmd, X_OK) != 0) SKIP_TEST("no dpdk-testpmd");
  const std::string layout = GENERATE("packed_vq=0", "packed_vq=1");
  const std::string buffers = GENERATE("mrg_rxbuf=1", "mrg_rxbuf=0");
  INFO(layout << "," << buffers);
  const Folder folder;
  const ipc::UniqueFd listener = support::listen_on(folder.file("network"));
  REQUIRE(listener);
  Command card({program(), "--socket-path=" + folder.file("card"), "--stream-path=" + folder.file("network"),
                "--accept-unsealed", "--mac=52:54:00:01:02:03"});
  Network network(ipc::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), false);
  while (!std::filesystem::exists(folder.file("card")) && !card.wait(Seconds(0.02))) {
  }
  Command forwarder(testpmd(folder, layout + "," + buffers + ",mac=52:54:00:01:02:03", "io"));
  REQUIRE(forwarder.expect("testpmd> ", Seconds(60)));

  // As many at once as the stream and the rings hold without a loss; each with bytes of its own.
  constexpr std::size_t kFrames = 20'000;
  constexpr std::size_t kAtOnce = 64;
  std::minstd_rand random(7);
  std::size_t wrong = 0;
  for (std::size_t round = 0; round < kFrames / kAtOnce; ++round) {
    std::vector<Bytes> sent;
    for (std::size_t i = 0; i < kAtOnce; ++i) {
      Bytes frame = support::make_frame(14);
      frame.resize(60 + random() % 1455);
      for (std::size_t at = 14; at < frame.size(); ++at) frame[at] = static_cast<std::byte>(random());
      network.send(frame);
      sent.push_back(std::move(frame));
    }
    for (const Bytes& frame : sent) {
      const auto back = network.receive();
      REQUIRE(back);
      wrong += *back == frame ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  forwarder.send("quit\n");
  CHECK(forwarder.wait(Seconds(30)) == 0);
}

TEST_CASE("testpmd: two pairs of queues on two threads, at full rate", "[interop][net]") {
  if (::access(kTestpmd, X_OK) != 0) SKIP_TEST("no dpdk-testpmd");
  const std::string layout = GENERATE("packed_vq=0", "packed_vq=1");
  INFO(layout);
  const Folder folder;
  Command card({program(), "--socket-path=" + folder.file("card"), "--null=64", "--queue-pairs=2", "--threads=2",
                "--accept-unsealed", "--mac=52:54:00:01:02:03", "--control-path=" + folder.file("control")});
  while (!std::filesystem::exists(folder.file("card")) && !card.wait(Seconds(0.02))) {
  }
  Command forwarder(testpmd(folder, layout + ",mac=52:54:00:01:02:03", "io", "2"));
  REQUIRE(forwarder.expect("testpmd> ", Seconds(60)));
  ::sleep(2);
  const auto stats = system_test::run({program(), "stats", folder.file("control"), "--once", "--json"});
  INFO(stats.output << stats.errors << card.errors());
  // Every queue has moved frames, and none was wrong.
  CHECK(stats.output.find("\"packets\": 0,") == std::string::npos);
  for (const char* reason : {"bad-chain", "bad-header", "too-short", "no-offload", "refused"}) {
    const std::string none = std::string("\"") + reason + "\": 0";
    std::size_t found = 0;
    for (std::size_t at = stats.output.find(none); at != std::string::npos; at = stats.output.find(none, at + 1))
      ++found;
    CHECK(found == 6);  // in and out, each alone and all together
  }
  forwarder.send("quit\n");
  CHECK(forwarder.wait(Seconds(30)) == 0);
}
