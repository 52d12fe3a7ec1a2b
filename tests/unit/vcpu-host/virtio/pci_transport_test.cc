#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"
#include "vcpu-host/devices/event.h"

using namespace vcpu_host;
using Request = ipc::vhost_user::Request;
using ipc::vhost_user::VringState;

SCENARIO("virtio-pci: a driver finds the device and its structures", "[virtio-4.1.2][virtio-4.1.4]") {
  VirtioFixture virtio;
  CHECK(virtio.get_config(0x00, 4) == 0x10421af4);  // device id 2: block
  CHECK(virtio.get_config(0x08, 1) == 1);           // revision: not transitional
  CHECK(virtio.get_config(0x0a, 2) == 0x0100);
  CHECK(virtio.get_config(0x3d, 1) == 0);  // no INTx pin
  for (std::uint8_t type = 1; type <= 5; ++type) {
    const std::size_t at = virtio.capability(0x09, type);
    REQUIRE(at != 0);
    CHECK(virtio.get_config(at + 4, 1) == 0);  // all in BAR 0
  }
  const std::size_t notify = virtio.capability(0x09, 2);
  CHECK(virtio.get_config(notify + 2, 1) == 20);
  CHECK(virtio.get_config(notify + 8, 4) == PciTransport::kNotify);
  CHECK(virtio.get_config(notify + 16, 4) == PciTransport::kNotifyMultiplier);
  CHECK(virtio.get(kNumQueues, 2) == 2);
}

SCENARIO("virtio-pci: features are negotiated", "[virtio-2.2][virtio-3.1.1]") {
  VirtioFixture virtio([](ScriptedBackEnd& back_end) {
    back_end.features |= std::uint64_t{1} << 33 | std::uint64_t{1} << 38 | std::uint64_t{1} << 40 | 1u << 27;
  });
  WHEN("the driver reads what is offered") {
    virtio.put(kDeviceFeatureSelect, 4, 0);
    THEN("the back end's bits are there, the protocol's and legacy ones are not") {
      CHECK(virtio.get(kDeviceFeature, 4) == (1u << 29 | 1u << 9));
    }
    THEN("of the transport's bits only those that work are there") {
      virtio.put(kDeviceFeatureSelect, 4, 1);
      CHECK(virtio.get(kDeviceFeature, 4) == 1);
    }
    THEN("any other window is empty") {
      virtio.put(kDeviceFeatureSelect, 4, 0xffffffff);
      CHECK(virtio.get(kDeviceFeature, 4) == 0);
    }
  }
  WHEN("it accepts what was not offered") {
    virtio.accept_features(kVersion1 | 1u << 5);
    THEN("FEATURES_OK stays clear") {
      CHECK(virtio.status() == (kAcknowledge | kDriver));
    }
  }
  WHEN("it does not accept VERSION_1") {
    virtio.accept_features(1u << 9);
    THEN("FEATURES_OK stays clear") {
      CHECK((virtio.status() & kFeaturesOk) == 0);
    }
  }
  WHEN("it accepts a subset") {
    virtio.accept_features(kVersion1 | 1u << 9);
    CHECK((virtio.status() & kFeaturesOk) != 0);
    THEN("the features are frozen") {
      virtio.put(kDriverFeature, 4, 0);
      CHECK(virtio.get(kDriverFeature, 4) == 1);
    }
  }
  WHEN("it sets DRIVER_OK without FEATURES_OK") {
    virtio.set_status(kAcknowledge | kDriver | kDriverOk);
    virtio.settle();
    THEN("nothing starts") {
      CHECK((virtio.status() & kDriverOk) == 0);
      CHECK(virtio.back_end.count(Request::SetFeatures) == 0);
    }
  }
}

SCENARIO("virtio-pci: the back end gets the queues at DRIVER_OK", "[virtio-3.1.1]") {
  VirtioFixture virtio;
  virtio.start();
  CHECK(virtio.status() == (kAcknowledge | kDriver | kFeaturesOk | kDriverOk));
  CHECK(virtio.back_end.last<std::uint64_t>(Request::SetFeatures) == (kVersion1 | 1u << 30));
  const auto table = virtio.back_end.last<ipc::vhost_user::MemoryTableHeader>(Request::SetMemTable);
  REQUIRE(table);
  CHECK(table->regions == 1);
  CHECK(virtio.back_end.count(Request::SetVringKick) == 2);
  CHECK(virtio.back_end.count(Request::SetVringCall) == 2);
  const auto size = virtio.back_end.last<VringState>(Request::SetVringNum);
  REQUIRE(size);
  CHECK(size->num == 64);
  const auto enable = virtio.back_end.last<VringState>(Request::SetVringEnable);
  REQUIRE(enable);
  CHECK(enable->num == 1);
  CHECK(virtio.back_end.last<std::uint64_t>(Request::SetStatus) == 0x0f);
}

SCENARIO("virtio-pci: what the back end was told cannot be changed any more", "[virtio-4.1.4.3.2][CVE-2026-5747]") {
  VirtioFixture virtio;
  virtio.start();
  const std::size_t messages = virtio.back_end.seen.size();
  for (std::uint16_t queue = 0; queue < 2; ++queue) {
    virtio.put(kQueueSelect, 2, queue);
    const std::uint64_t descriptors = virtio.get(kQueueDesc, 8);
    virtio.put(kQueueSize, 2, 128);
    virtio.put(kQueueEnable, 2, 0);
    for (const std::uint64_t field : {kQueueDesc, kQueueDriver, kQueueDevice}) {
      virtio.put(field, 4, 0xdead0000);
      virtio.put(field + 4, 4, 0xdead);
      virtio.put(field, 8, ~std::uint64_t{0});
    }
    CHECK(virtio.get(kQueueSize, 2) == 64);
    CHECK(virtio.get(kQueueEnable, 2) == 1);
    CHECK(virtio.get(kQueueDesc, 8) == descriptors);
    CHECK(virtio.get(kQueueDriver, 8) == descriptors + 0x4000);
    CHECK(virtio.get(kQueueDevice, 8) == descriptors + 0x8000);
  }
  virtio.settle();
  CHECK(virtio.back_end.seen.size() == messages);
}

SCENARIO("virtio-pci: a queue that is not there reads as zeros", "[virtio-4.1.4.3.1]") {
  VirtioFixture virtio;
  virtio.accept_features(kVersion1);
  for (const std::uint16_t queue : {2, 64, 0x8000, 0xffff}) {
    virtio.put(kQueueSelect, 2, queue);
    virtio.put(kQueueVector, 2, 0);
    virtio.put(kQueueEnable, 2, 1);
    virtio.put(kQueueDesc, 8, 0x1000);
    for (const std::uint64_t field : {kQueueSize, kQueueVector, kQueueEnable, kQueueNotifyOff})
      CHECK(virtio.get(field, 2) == 0);
    CHECK(virtio.get(kQueueDesc, 8) == 0);
  }
}

SCENARIO("virtio-pci: sizes and vectors that are not possible are not taken", "[virtio-2.7][virtio-4.1.5.1.2.1]") {
  VirtioFixture virtio;
  virtio.accept_features(kVersion1);
  virtio.put(kQueueSelect, 2, 0);
  for (const std::uint16_t size : {0, 3, 65, 512, 0xffff}) {
    virtio.put(kQueueSize, 2, size);
    CHECK(virtio.get(kQueueSize, 2) == PciTransport::kMaxQueueSize);
  }
  virtio.put(kQueueVector, 2, 3);
  CHECK(virtio.get(kQueueVector, 2) == PciTransport::kNoVector);
  virtio.put(kQueueVector, 2, 2);
  CHECK(virtio.get(kQueueVector, 2) == 2);
  virtio.put(kConfigVector, 2, 0x1000);
  CHECK(virtio.get(kConfigVector, 2) == PciTransport::kNoVector);
}

SCENARIO("virtio-pci: the status reads 0 only when the back end has stopped", "[virtio-2.4.1]") {
  VirtioFixture virtio;
  virtio.start();
  WHEN("the driver resets the device") {
    virtio.set_status(0);
    CHECK(virtio.status() != 0);
    virtio.set_status(kAcknowledge);
    CHECK((virtio.status() & kDriverOk) != 0);  // not before it reads 0
    virtio.settle();
    THEN("the rings were taken back, and all registers are as in the beginning") {
      CHECK(virtio.status() == 0);
      CHECK(virtio.back_end.count(Request::GetVringBase) == 2);
      CHECK(virtio.back_end.last<std::uint64_t>(Request::SetStatus) == 0);
      virtio.put(kQueueSelect, 2, 1);
      CHECK(virtio.get(kQueueEnable, 2) == 0);
      CHECK(virtio.get(kQueueDesc, 8) == 0);
      CHECK(virtio.get(kQueueVector, 2) == PciTransport::kNoVector);
      CHECK(virtio.hypervisor.connections() == 0);
    }
    THEN("the device starts again, its rings at 0") {
      virtio.start();
      CHECK((virtio.status() & kDriverOk) != 0);
      const auto base = virtio.back_end.last<VringState>(Request::SetVringBase);
      REQUIRE(base);
      CHECK(base->num == 0);
    }
  }
}

SCENARIO("virtio-pci: without bus master the device does not touch memory", "[pci]") {
  VirtioFixture virtio;
  virtio.start();
  virtio.put_config(0x04, 2, 0x0002);
  virtio.settle();
  CHECK(virtio.back_end.count(Request::GetVringBase) == 2);
  CHECK(virtio.hypervisor.connections() == 0);
  CHECK((virtio.status() & kDriverOk) != 0);
  WHEN("it may again") {
    virtio.put_config(0x04, 2, 0x0006);
    virtio.settle();
    THEN("the rings go on where they were") {
      const auto base = virtio.back_end.last<VringState>(Request::SetVringBase);
      REQUIRE(base);
      CHECK(base->num == virtio.back_end.vring_base);
      CHECK(virtio.hypervisor.connections() == 3);
    }
  }
}

SCENARIO("virtio-pci: a reset while the device may not touch memory reaches the back end before the next start",
         "[virtio-2.4.1]") {
  VirtioFixture virtio;
  virtio.start();
  virtio.put_config(0x04, 2, 0x0002);  // no bus master
  virtio.settle();
  virtio.set_status(0);
  CHECK(virtio.status() == 0);
  virtio.put_config(0x04, 2, 0x0006);
  virtio.back_end.seen.clear();
  virtio.start();
  REQUIRE_FALSE(virtio.back_end.seen.empty());
  CHECK(virtio.back_end.seen[0].request == Request::SetStatus);
  CHECK(virtio.back_end.seen[0].payload == ScriptedBackEnd::Payload(8));
  CHECK(virtio.back_end.count(Request::SetVringKick) == 2);
}

SCENARIO("virtio-pci: a device type's own features pass, below the transport's and above", "[virtio-2.2]") {
  VirtioFixture virtio([](ScriptedBackEnd& back_end) {
    back_end.features |= std::uint64_t{1} << 63 | std::uint64_t{1} << 50;  // VIRTIO_NET_F_SPEED_DUPLEX is one
    back_end.features |= std::uint64_t{1} << 33 | std::uint64_t{1} << 40;  // a virtual IOMMU, resetting one queue
  });
  virtio.put(kDeviceFeatureSelect, 4, 1);
  CHECK(virtio.get(kDeviceFeature, 4) == (1u << 31 | 1u << 18 | 1u));
}

SCENARIO("virtio-pci: doorbells kick the back end without this process", "[virtio-4.1.4.4]") {
  VirtioFixture virtio;
  const std::uint64_t doorbell = virtio.bar + PciTransport::kNotify;
  CHECK(virtio.hypervisor.ring(doorbell + 4));
  CHECK(take(virtio.front_end->kick(1)) == 1);
  CHECK_FALSE(virtio.hypervisor.ring(doorbell + 8));
  WHEN("the BAR moves") {
    virtio.put_config(0x10, 4, 0xd0000000);
    THEN("they move with it") {
      CHECK_FALSE(virtio.hypervisor.ring(doorbell));
      CHECK(virtio.hypervisor.ring(0xd0000000 + PciTransport::kNotify));
      CHECK(virtio.hypervisor.doorbells() == 2);
    }
  }
  WHEN("memory decode is switched off") {
    virtio.put_config(0x04, 2, 0x0004);
    THEN("there are none, and no registers") {
      CHECK(virtio.hypervisor.doorbells() == 0);
      CHECK(virtio.get(kNumQueues, 2) == 0xffff);
    }
  }
  WHEN("the driver notifies queues that are not there") {
    for (const std::uint64_t offset : {8u, 0x400u, 0xffcu}) virtio.put(PciTransport::kNotify + offset, 4, 0xffffffff);
    virtio.put(PciTransport::kNotify, 2, 0x8000);  // CVE-2011-2512: the value says nothing
    THEN("only the one whose doorbell it was is kicked") {
      CHECK(take(virtio.front_end->kick(0)) == 1);
      CHECK(take(virtio.front_end->kick(1)) == 0);
    }
  }
}

SCENARIO("virtio-pci: the back end's call interrupts through the queue's vector", "[virtio-4.1.5.1.2]") {
  VirtioFixture virtio;
  virtio.start();
  signal(virtio.front_end->call(1));
  CHECK(virtio.hypervisor.delivered() == std::vector{MsiMessage{0xfee00000, 0x42}});
  WHEN("the vector is masked") {
    virtio.put(PciTransport::kMsixTable + 2 * 16 + 12, 4, 1);
    signal(virtio.front_end->call(1));
    THEN("the interrupt waits as a pending bit, and comes when it is unmasked") {
      CHECK(virtio.hypervisor.delivered().empty());
      CHECK(virtio.get(PciTransport::kMsixPending, 8) == 1u << 2);
      virtio.put(PciTransport::kMsixTable + 2 * 16 + 12, 4, 0);
      CHECK(virtio.hypervisor.delivered().size() == 1);
      CHECK(virtio.get(PciTransport::kMsixPending, 8) == 0);
    }
  }
}

SCENARIO("virtio-pci: the back end changes its configuration", "[virtio-4.1.4.3.1]") {
  VirtioFixture virtio;
  virtio.start();
  const auto generation = virtio.get(kConfigGeneration, 1);
  CHECK(virtio.get(PciTransport::kDeviceConfig, 4) == 0x5a5a5a5a);
  CHECK(virtio.get(PciTransport::kDeviceConfig + 16, 4) == 0);
  virtio.back_end.change_config(std::vector(16, std::byte{0x77}), true);
  virtio.settle();
  CHECK(virtio.get(PciTransport::kDeviceConfig, 4) == 0x77777777);
  CHECK(virtio.get(kConfigGeneration, 1) == generation + 1);
  CHECK(virtio.hypervisor.delivered() == std::vector{MsiMessage{0xfee00000, 0x40}});
  CHECK(virtio.back_end.acknowledged == 0);
}

SCENARIO("virtio-pci: the driver writes configuration space", "[virtio-2.5]") {
  VirtioFixture virtio;
  virtio.start();
  virtio.put(PciTransport::kDeviceConfig + 4, 2, 0x1234);
  virtio.put(PciTransport::kDeviceConfig + 15, 2, 0x1234);  // leaves it
  virtio.settle();
  CHECK(virtio.back_end.count(Request::SetConfig) == 1);
  const auto header = virtio.back_end.last<ipc::vhost_user::ConfigHeader>(Request::SetConfig);
  REQUIRE(header);
  CHECK(header->offset == 4);
  CHECK(header->size == 2);
  WHEN("the back end refuses") {
    virtio.back_end.answers[Request::SetConfig] = std::vector(8, std::byte{1});
    virtio.put(PciTransport::kDeviceConfig, 4, 0);
    virtio.settle();
    THEN("the driver reads what it was, and goes on") {
      CHECK(virtio.get(PciTransport::kDeviceConfig, 4) == 0x5a5a5a5a);
      CHECK_FALSE(virtio.failure);
    }
  }
}

SCENARIO("virtio-pci: rings outside RAM are not handed on", "[CVE-2020-10725]") {
  VirtioFixture virtio;
  virtio.accept_features(kVersion1);
  virtio.put(kConfigVector, 2, 0);
  virtio.unmask(0);
  virtio.set_up_queue(0);
  virtio.put(kQueueSelect, 2, 1);
  const auto bad = GENERATE(std::uint64_t{kRamBytes}, std::uint64_t{kRamBytes - 16}, std::uint64_t{0xfffffffffffff000},
                            std::uint64_t{0x100008}, std::uint64_t{0xb0000000});
  virtio.put(kQueueDesc, 8, bad);
  virtio.put(kQueueDriver, 8, 0x4000);
  virtio.put(kQueueDevice, 8, 0x8000);
  virtio.put(kQueueEnable, 2, 1);
  virtio.set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  virtio.settle();
  CHECK((virtio.status() & kNeedsReset) != 0);
  CHECK(virtio.back_end.count(Request::SetVringAddr) == 0);
  CHECK(virtio.hypervisor.delivered().size() == 1);
  THEN("a reset makes it usable again") {
    virtio.set_status(0);
    CHECK(virtio.status() == 0);
    virtio.start();
    CHECK(virtio.status() == (kAcknowledge | kDriver | kFeaturesOk | kDriverOk));
  }
}

SCENARIO("virtio-pci: registers can be reached through configuration space", "[virtio-4.1.4.9]") {
  VirtioFixture virtio;
  const std::size_t access = virtio.capability(0x09, 5);
  virtio.put_config(access + 8, 4, kNumQueues);
  virtio.put_config(access + 12, 4, 2);
  CHECK(virtio.get_config(access + 16, 2) == 2);
  virtio.put_config(access + 8, 4, PciTransport::kNotify + 4);
  virtio.put_config(access + 12, 4, 4);
  virtio.put_config(access + 16, 4, 1);
  CHECK(take(virtio.front_end->kick(1)) == 1);
  for (const std::uint32_t offset : {0x7ffdu, 0x8000u, 0xfffffffcu}) {
    virtio.put_config(access + 8, 4, offset);
    virtio.put_config(access + 16, 4, 0xffffffff);
    CHECK(virtio.get_config(access + 8, 4) == offset);
  }
}
