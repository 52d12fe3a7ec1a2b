// blk::DataVector and the used length. Requests as a whole: tests/conformance/virtio_blk_test.cc.
#include "backends/blk/request.h"

#include "tests/support/catch.h"

SCENARIO("request: a transfer that was cut short goes on where it stopped", "[blk]") {
  std::array<std::byte, 100> memory;
  blk::DataVector data;
  data.clear();
  REQUIRE(data.append({memory.data(), 10}));
  REQUIRE(data.append({memory.data() + 10, 20}));
  REQUIRE(data.append({memory.data() + 30, 30}));
  data.advance(10);
  CHECK(data.rest().size() == 2);
  data.advance(5);
  CHECK(data.rest()[0].iov_base == memory.data() + 15);
  CHECK(data.bytes() == 45);
  data.advance(45);
  CHECK(data.rest().empty());
}

SCENARIO("request: no more segments than the driver was told", "[blk][virtio-5.2.4]") {
  std::byte byte{};
  blk::DataVector data;
  data.clear();
  for (std::uint32_t i = 0; i < blk::kMaxSegments; ++i) REQUIRE(data.append({&byte, 1}));
  CHECK_FALSE(data.append({&byte, 1}));
}
