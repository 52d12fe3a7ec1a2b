// A front end that sends nothing but rubbish, for long: what the back end holds does not grow.
#include <fstream>
#include <random>

#include "tests/conformance/blk_fixture.h"

using conformance::BlkFixture;
using ipc::vhost_user::Request;
using support::kSector;
using support::make_request;

namespace {

std::size_t resident_pages() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  file >> all >> resident;
  return resident;
}

}  // namespace

SCENARIO("session: 100000 bad messages cost neither descriptors nor memory", "[session][vhost-user][CVE-2020-10726]") {
  BlkFixture blk({.queues = 2});
  REQUIRE(blk.ready);
  std::mt19937 random(1);
  const ipc::UniqueFd memory = support::make_memfd(1 << 20, support::kSeals);
  const std::array<int, 4> passed{memory.get(), blk.disk.get(), blk.queues[0].call_fd().get(),
                                  blk.queues[0].kick_fd().get()};
  // Requests that have a reply of their own close the connection when they are bad; those that are good
  // with any payload would end the device: SET_STATUS, RESET_DEVICE.
  const std::vector<std::uint32_t> left_out{1, 11, 15, 17, 24, 31, 34, 36, 39, 40, 42, 43};
  std::size_t unanswered = 0;
  const auto flood = [&](int messages) {
    for (int i = 0; i < messages; ++i) {
      const std::uint32_t request = random() % 50;
      if (std::ranges::find(left_out, request) != left_out.end()) continue;
      std::vector<std::byte> payload(random() % 300 | 1);  // no message but SET_CONFIG has an odd size
      for (std::byte& byte : payload) byte = std::byte{static_cast<std::uint8_t>(random())};
      std::vector<int> fds(random() % (ipc::vhost_user::kMaxMessageFds + 1));
      for (int& fd : fds) fd = passed[random() % passed.size()];
      if (!blk.front_end->send(request, payload, fds, ipc::vhost_user::kNeedReplyFlag)) ++unanswered;
      if (!blk.front_end->receive()) ++unanswered;
    }
    // When this is answered, the last of them has been dropped.
    if (!blk.front_end->get(Request::GetFeatures)) ++unanswered;
  };
  flood(10'000);
  const std::size_t descriptors = support::open_descriptors();
  const std::size_t pages = resident_pages();
  flood(140'000);  // less those left out
  CHECK(unanswered == 0);
  CHECK(support::open_descriptors() == descriptors);
#ifdef BULKHEAD_SANITIZED  // keeps what was freed, to find who uses it
  static_cast<void>(pages);
#else
  CHECK(resident_pages() < pages + 256);
#endif
  CHECK(blk.run(make_request(blk.ram, VIRTIO_BLK_T_IN, 0, kSector)) == VIRTIO_BLK_S_OK);
}
