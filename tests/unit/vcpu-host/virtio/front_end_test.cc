#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"

using namespace vcpu_host;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using Request = ipc::vhost_user::Request;

SCENARIO("front end: a back end with every feature", "[vhost-user]") {
  Connection connection;
  connection.back_end.config = std::vector(60, std::byte{1});
  REQUIRE(connection.connect(4));
  CHECK(connection.front_end->queues() == 4);
  CHECK(connection.front_end->config().size() == 60);
  CHECK(connection.back_end.count(Request::SetBackendReqFd) == 1);
  CHECK((connection.front_end->features() & 1u << 30) == 0);
  CHECK(connection.back_end.count(Request::SetOwner) == 1);
}

SCENARIO("front end: a back end with less", "[vhost-user]") {
  Connection connection;
  WHEN("it knows no protocol features") {
    connection.back_end.features = kVersion1;
    REQUIRE(connection.connect(1));
    THEN("configuration space is empty and rings are enabled by their kick") {
      CHECK(connection.front_end->config().empty());
      const QueueSetup queue{.enabled = true, .size = 16, .descriptors = 0x1000, .driver = 0x2000, .device = 0x3000};
      CHECK(connection.front_end->start(kVersion1, std::span(&queue, 1)));
      connection.back_end.run(connection.loop);
      CHECK(connection.back_end.count(Request::SetVringKick) == 1);
      CHECK(connection.back_end.count(Request::SetVringEnable) == 0);
      CHECK(connection.back_end.last<std::uint64_t>(Request::SetFeatures) == kVersion1);
    }
  }
  WHEN("it refuses to tell its configuration") {
    connection.back_end.answers[Request::GetConfig] = ScriptedBackEnd::Payload();
    THEN("the device has none") {
      REQUIRE(connection.connect(1));
      CHECK(connection.front_end->config().empty());
    }
  }
}

SCENARIO("front end: a greeting that fails names its step", "[vhost-user]") {
  Connection connection;
  ScriptedBackEnd& back_end = connection.back_end;
  const auto garbage = ScriptedBackEnd::Payload(3);
  WHEN("the back end is a legacy one") {
    back_end.features = 1u << 30;
    CHECK_FALSE(connection.connect(1));
    CHECK_THAT(connection.error, Contains("GET_FEATURES") && Contains("VERSION_1"));
  }
  WHEN("it has fewer queues") {
    back_end.queues = 1;
    CHECK_FALSE(connection.connect(2));
    CHECK_THAT(connection.error, Contains("1 queues"));
  }
  WHEN("it answers garbage") {
    back_end.answers[Request::GetProtocolFeatures] = garbage;
    CHECK_FALSE(connection.connect(1));
    CHECK_THAT(connection.error, Contains("GET_PROTOCOL_FEATURES") && Contains("malformed"));
  }
  WHEN("it lies about the size of its configuration") {
    back_end.answers[Request::GetConfig] = ScriptedBackEnd::Payload(100, std::byte{0xff});
    CHECK_FALSE(connection.connect(1));
    CHECK_THAT(connection.error, Contains("GET_CONFIG"));
  }
  WHEN("it refuses") {
    back_end.answers[Request::SetOwner] = ScriptedBackEnd::Payload(8, std::byte{1});
    CHECK_FALSE(connection.connect(1));
    CHECK_THAT(connection.error, Contains("SET_OWNER"));
  }
  WHEN("it does not answer in time") {
    for (const Request request : {Request::GetQueueNum, Request::SetBackendReqFd, Request::GetConfig})
      back_end.answers[request] = std::nullopt;
    CHECK_FALSE(connection.connect(1, {.greeting = 50ms, .reply = 50ms}));
    CHECK_THAT(connection.error, Contains("GET_QUEUE_NUM") && Contains("no answer"));
  }
  WHEN("it hangs up") {
    back_end.hang_up();
    CHECK_FALSE(connection.connect(1));
  }
}

SCENARIO("front end: RAM above 4 GiB is a second region", "[vhost-user]") {
  Connection connection;
  REQUIRE(connection.connect(1, {}, 6ull << 30));
  const QueueSetup queue{.enabled = true, .size = 16, .descriptors = 5ull << 30, .driver = 0x2000, .device = 0x3000};
  REQUIRE(connection.front_end->start(kVersion1, std::span(&queue, 1)));
  connection.back_end.run(connection.loop);
  struct Table {
    ipc::vhost_user::MemoryTableHeader header;
    ipc::vhost_user::MemoryRegion regions[2];
  };
  const auto table = connection.back_end.last<Table>(Request::SetMemTable);
  REQUIRE(table);
  CHECK(table->header.regions == 2);
  CHECK(table->regions[1].guest_address == 4ull << 30);
  CHECK(table->regions[1].mmap_offset == 2ull << 30);
  const auto address = connection.back_end.last<ipc::vhost_user::VringAddr>(Request::SetVringAddr);
  REQUIRE(address);
  CHECK(address->descriptor - table->regions[1].user_address == 1ull << 30);
  THEN("a ring in the hole between them is refused") {
    connection.front_end->stop(FrontEnd::Stop::Reset);
    connection.back_end.run(connection.loop);
    QueueSetup hole = queue;
    hole.descriptors = 3ull << 30;
    CHECK_FALSE(connection.front_end->start(kVersion1, std::span(&hole, 1)));
    hole.descriptors = (2ull << 30) - 16;  // straddles the end of the first
    CHECK_FALSE(connection.front_end->start(kVersion1, std::span(&hole, 1)));
  }
}

SCENARIO("front end: packed rings begin with both wrap counters at 1", "[virtio-2.8.1]") {
  Connection connection;
  connection.back_end.features |= std::uint64_t{1} << 34;
  REQUIRE(connection.connect(1));
  const QueueSetup queue{.enabled = true, .size = 16, .descriptors = 0x1000, .driver = 0x2000, .device = 0x3000};
  REQUIRE(connection.front_end->start(kVersion1 | std::uint64_t{1} << 34, std::span(&queue, 1)));
  connection.back_end.run(connection.loop);
  const auto base = connection.back_end.last<ipc::vhost_user::VringState>(Request::SetVringBase);
  REQUIRE(base);
  CHECK(base->num == 0x80008000);
}

SCENARIO("front end: a back end that breaks the protocol is dropped", "[vhost-user]") {
  VirtioFixture virtio([](ScriptedBackEnd&) {}, {.greeting = 10s, .reply = 30ms});
  ScriptedBackEnd& back_end = virtio.back_end;
  WHEN("it answers what nobody asked") {
    virtio.start();
    back_end.send(Request::GetVringBase, ipc::vhost_user::kReplyFlag, ScriptedBackEnd::Payload(8));
  }
  WHEN("it sends a request where answers belong") {
    virtio.start();
    back_end.send(Request::GetFeatures, 0, {});
  }
  WHEN("it answers a wrong size") {
    back_end.answers[Request::SetMemTable] = ScriptedBackEnd::Payload(4);
    virtio.start();
  }
  WHEN("it refuses the memory table") {
    back_end.answers[Request::SetMemTable] = ScriptedBackEnd::Payload(8, std::byte{1});
    virtio.start();
  }
  WHEN("it stops another ring than was asked for") {
    virtio.start();
    back_end.answers[Request::GetVringBase] = ScriptedBackEnd::Payload(8, std::byte{9});
    virtio.set_status(0);
  }
  WHEN("its ring index is beyond 16 bits") {
    virtio.start();
    back_end.vring_base = 0x10000;
    virtio.set_status(0);
  }
  WHEN("it changes the size of its configuration") {
    virtio.start();
    back_end.change_config(std::vector(4, std::byte{1}));
  }
  virtio.settle();
  CHECK(virtio.losses == 1);
  CHECK(virtio.front_end->state() == FrontEnd::State::Lost);
  // Of one that only stopped the rings for a reset the driver hopes nothing any more.
  CHECK(virtio.failure.has_value() == (virtio.status() != 0));
}

SCENARIO("front end: a back end that does not read cannot make it wait or grow", "[vhost-user]") {
  VirtioFixture virtio;
  virtio.start();
  for (int i = 0; i < 100'000; ++i) virtio.put(PciTransport::kDeviceConfig, 4, static_cast<std::uint64_t>(i));
  virtio.settle();
  CHECK(virtio.back_end.count(Request::SetConfig) < 1000);
  CHECK_FALSE(virtio.failure);
}
