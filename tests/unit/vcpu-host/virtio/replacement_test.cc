// A back end is lost, and another takes its place.
#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"
#include "vcpu-host/devices/event.h"

using namespace vcpu_host;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using ipc::vhost_user::ConfigHeader;
using ipc::vhost_user::Inflight;
using ipc::vhost_user::VringState;
using Request = ipc::vhost_user::Request;

namespace {

constexpr std::uint64_t kTracksInflight = 1u << 12;

struct ReplacementFixture : VirtioFixture {
  explicit ReplacementFixture(std::uint64_t protocol_features = kTracksInflight, FrontEnd::Limits limits = {})
      : VirtioFixture(
            [=](ScriptedBackEnd& made) {
              made.protocol_features |= protocol_features;
              made.inflight = make_ram();
            },
            limits) {}

  void lose() {
    back_end.hang_up();
    settle();
  }
  void replace() {
    back_end.begin_anew();
    front_end->reconnect(back_end.take_connection());
    settle();
  }
  void set_used_index(std::uint64_t device_area, std::uint16_t index) {
    (*memory.slice({device_area}, 4)->objects<std::uint16_t>(2))[1] = index;
  }
};

constexpr std::uint8_t kRuns = kAcknowledge | kDriver | kFeaturesOk | kDriverOk;

}  // namespace

SCENARIO("front end: a back end's record of what is in flight is kept for the next", "[vhost-user-inflight]") {
  ReplacementFixture virtio;
  virtio.start();
  const auto asked = virtio.back_end.last<Inflight>(Request::GetInflightFd);
  REQUIRE(asked);
  CHECK(asked->queues == 2);
  CHECK(asked->queue_size == 64);
  CHECK(virtio.back_end.count(Request::SetInflightFd) == 1);
  CHECK(virtio.back_end.count(Request::SetVringKick) == 2);

  WHEN("it is lost") {
    virtio.lose();
    THEN("the driver is told nothing, and its doorbells wait") {
      CHECK(virtio.losses == 1);
      CHECK(virtio.status() == kRuns);
      CHECK(virtio.hypervisor.delivered().empty());
    }
    AND_WHEN("another takes its place") {
      virtio.set_used_index(0x108000, 41);
      virtio.replace();
      THEN("it gets the record and all rings, and goes on where the driver saw the last completion") {
        CHECK(virtio.gap);
        CHECK(virtio.back_end.count(Request::GetInflightFd) == 0);
        const auto layout = virtio.back_end.last<Inflight>(Request::SetInflightFd);
        REQUIRE(layout);
        CHECK(layout->mmap_size == 0x10000);
        CHECK(virtio.back_end.seen[0].request == Request::GetFeatures);
        CHECK(virtio.back_end.count(Request::SetVringKick) == 2);
        bool found = false;
        for (const auto& message : virtio.back_end.seen) {
          if (message.request != Request::SetVringBase) continue;
          VringState state{};
          std::memcpy(&state, message.payload.data(), sizeof state);
          if (state.index == 0) found = state.num == 41;
        }
        CHECK(found);
        CHECK(virtio.status() == kRuns);
      }
      AND_WHEN("the driver resets the device and begins anew") {
        virtio.set_status(0);
        virtio.settle();
        virtio.start();
        THEN("so does the record") {
          CHECK(virtio.back_end.count(Request::GetInflightFd) == 1);
          CHECK(virtio.back_end.last<VringState>(Request::SetVringBase)->num == 0);
        }
      }
    }
    AND_WHEN("the driver resets the device meanwhile") {
      virtio.set_status(0);
      THEN("it need not wait, and begins when there is another") {
        CHECK(virtio.status() == 0);
        virtio.start();
        CHECK(virtio.status() == kRuns);
        virtio.replace();
        CHECK(virtio.back_end.count(Request::GetInflightFd) == 1);
        CHECK(virtio.back_end.count(Request::SetVringKick) == 2);
      }
    }
    AND_WHEN("it may not be bus master for a while") {
      virtio.put_config(0x04, 2, 0x0002);
      virtio.replace();
      CHECK(virtio.back_end.count(Request::SetVringKick) == 0);
      virtio.put_config(0x04, 2, 0x0006);
      virtio.settle();
      THEN("it goes on afterwards") {
        CHECK(virtio.back_end.count(Request::SetInflightFd) == 1);
      }
    }
  }
  WHEN("another takes its place before its end is seen") {
    virtio.replace();
    THEN("it is lost first") {
      CHECK(virtio.losses == 1);
      CHECK(virtio.back_end.count(Request::SetInflightFd) == 1);
    }
  }
  WHEN("it is lost while the driver waits for a reset") {
    virtio.set_status(0);
    virtio.lose();
    THEN("the reset is complete") {
      CHECK(virtio.status() == 0);
    }
  }
}

SCENARIO("front end: what the driver wrote into configuration space outlives the back end", "[virtio-2.5]") {
  ReplacementFixture virtio;
  virtio.start();
  virtio.put(PciTransport::kDeviceConfig + 4, 2, 0x1234);
  virtio.settle();
  virtio.lose();
  virtio.put(PciTransport::kDeviceConfig + 8, 1, 0x56);
  CHECK(virtio.get(PciTransport::kDeviceConfig + 8, 1) == 0x56);
  virtio.replace();
  CHECK(virtio.back_end.count(Request::SetConfig) == 2);
  CHECK(virtio.get(PciTransport::kDeviceConfig + 4, 2) == 0x1234);
  CHECK(virtio.hypervisor.delivered().empty());
  THEN("but not a reset") {
    virtio.set_status(0);
    virtio.settle();
    virtio.start();
    virtio.lose();
    virtio.replace();
    CHECK(virtio.back_end.count(Request::SetConfig) == 0);
  }
}

SCENARIO("front end: a back end of another kind cannot take over", "[vhost-user]") {
  ReplacementFixture virtio;
  virtio.start();
  virtio.lose();
  WHEN("it lacks what the driver uses") {
    virtio.back_end.queues = 1;
  }
  WHEN("its configuration space has another size") {
    virtio.back_end.config.resize(8);
  }
  WHEN("it is a legacy device") {
    virtio.back_end.features = 1u << 30;
  }
  virtio.replace();
  CHECK(virtio.losses == 2);
  CHECK(virtio.front_end->state() == FrontEnd::State::Lost);
  CHECK((virtio.status() & kNeedsReset) != 0);
}

SCENARIO("front end: a back end that lacks a feature that the driver uses has to be set up anew", "[virtio-2.2]") {
  VirtioFixture virtio([](ScriptedBackEnd& back_end) {
    back_end.protocol_features |= kTracksInflight;
    back_end.inflight = make_ram();
  });
  virtio.accept_features(kVersion1 | 1u << 9);
  virtio.set_up_queue(0);
  virtio.set_status(kRuns);
  virtio.settle();
  virtio.back_end.hang_up();
  virtio.settle();
  virtio.back_end.features &= ~std::uint64_t{1u << 9};
  virtio.back_end.begin_anew();
  virtio.front_end->reconnect(virtio.back_end.take_connection());
  virtio.settle();
  CHECK((virtio.status() & kNeedsReset) != 0);
  virtio.set_status(0);
  virtio.start();
  CHECK(virtio.status() == kRuns);
}

SCENARIO("front end: without a record the driver begins anew, where that matters", "[vhost-user-inflight]") {
  ReplacementFixture virtio(0);
  virtio.start();
  CHECK(virtio.back_end.count(Request::GetInflightFd) == 0);
  virtio.lose();
  CHECK((virtio.status() & kNeedsReset) != 0);
  CHECK(virtio.failure);
  CHECK(virtio.hypervisor.delivered() == std::vector{MsiMessage{0xfee00000, 0x40}});
  virtio.replace();
  CHECK(virtio.back_end.count(Request::SetVringKick) == 0);
  THEN("and it can") {
    virtio.set_status(0);
    virtio.start();
    CHECK(virtio.status() == kRuns);
    CHECK(virtio.back_end.count(Request::SetVringKick) == 2);
  }
}

SCENARIO("front end: a back end that falls silent is dropped, and can be replaced", "[vhost-user]") {
  ReplacementFixture virtio(kTracksInflight, {.greeting = 10s, .reply = 30ms});
  virtio.start();
  WHEN("it does not stop its rings for a reset") {
    virtio.set_status(0);
    for (int i = 0; i < 20 && virtio.losses == 0; ++i) static_cast<void>(virtio.loop.run_once(1000));
    THEN("the driver's reset is done") {
      CHECK(virtio.losses == 1);
      CHECK(virtio.status() == 0);
    }
  }
  WHEN("it takes a place and does not greet") {
    FrontEnd::Limits limits{.greeting = 30ms, .reply = 30ms};
    ReplacementFixture other(kTracksInflight, limits);
    other.start();
    other.lose();
    other.back_end.begin_anew();
    other.front_end->reconnect(other.back_end.take_connection());
    CHECK(other.get(kNumQueues, 2) == 2);  // nobody waits for it
    for (int i = 0; i < 20 && other.losses < 2; ++i) static_cast<void>(other.loop.run_once(1000));
    THEN("it is lost too, and the device still waits") {
      CHECK(other.losses == 2);
      CHECK(other.status() == kRuns);
      other.replace();
      CHECK(other.back_end.count(Request::SetVringKick) == 2);
    }
  }
}

SCENARIO("front end: a replaced back end's packed rings go on by the record", "[virtio-2.8.1]") {
  VirtioFixture virtio([](ScriptedBackEnd& back_end) {
    back_end.protocol_features |= kTracksInflight;
    back_end.features |= std::uint64_t{1} << 34;
    back_end.inflight = make_ram();
  });
  virtio.accept_features(kVersion1 | std::uint64_t{1} << 34);
  virtio.set_up_queue(0, 64);
  virtio.set_up_queue(1, GENERATE(std::uint16_t{64}, std::uint16_t{32}));
  virtio.set_status(kRuns);
  virtio.settle();
  const bool one_size = virtio.back_end.count(Request::GetInflightFd) == 1;  // a record of packed rings fits one size
  virtio.back_end.hang_up();
  virtio.settle();
  CHECK(((virtio.status() & kNeedsReset) == 0) == one_size);
}
