#include <random>

#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"

using namespace vcpu_host;
using Request = ipc::vhost_user::Request;

namespace {

void random_access(VirtioFixture& virtio, std::mt19937_64& random) {
  const std::size_t size = std::size_t{1} << random() % 4;
  const std::uint64_t pages[] = {0, 0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000};
  const std::uint64_t offset = pages[random() % 8] + random() % 64;
  const std::uint64_t value = random() % 4 == 0 ? random() : random() % 256;
  switch (random() % 8) {
    case 0:
      virtio.get(offset, size);
      return;
    case 1:
      virtio.put_config(random() % 256, std::min<std::size_t>(size, 4), static_cast<std::uint32_t>(value));
      return;
    case 2:
      virtio.get_config(random() % 4096, std::min<std::size_t>(size, 4));
      return;
    case 3:
      virtio.put(kDeviceStatus, 1, random() % 16);
      return;
    case 4:
      virtio.accept_features(kVersion1);
      virtio.put_config(0x04, 2, 0x0006);
      return;
    default:
      virtio.put(offset, size, value);
  }
}

}  // namespace

SCENARIO("virtio-pci: a hostile guest cannot harm the process", "[hostile]") {
  std::mt19937_64 random(GENERATE(1u, 2u, 3u));
  VirtioFixture virtio;
  for (int i = 0; i < 50'000; ++i) {
    random_access(virtio, random);
    if (i % 16 == 0) virtio.settle();
  }
  virtio.settle();
  THEN("the device still works after a reset") {
    virtio.put_config(0x04, 2, 0x0006);
    virtio.put_config(0x10, 4, 0xc0000000);
    virtio.put_config(0x14, 4, 0);
    virtio.bar = 0xc0000000;
    virtio.settle();
    virtio.set_status(0);
    virtio.settle();
    CHECK(virtio.status() == 0);
    virtio.start();
    CHECK(virtio.status() == (kAcknowledge | kDriver | kFeaturesOk | kDriverOk));
    CHECK_FALSE(virtio.failure);
  }
}

SCENARIO("virtio-pci: a hostile back end cannot harm the process", "[hostile]") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    VirtioFixture virtio;
    virtio.start();
    for (int i = 0; i < 20 && virtio.losses == 0; ++i) {
      ScriptedBackEnd::Payload payload(random() % 300);
      for (std::byte& byte : payload) byte = static_cast<std::byte>(random() % 3);
      const Request asked[] = {Request::GetVringBase, Request::GetConfig, Request::SetVringEnable, Request::SetConfig};
      virtio.back_end.answers = {{asked[random() % 4], payload}};
      if (random() % 8 == 0)
        virtio.back_end.send(static_cast<Request>(random() % 45), static_cast<std::uint32_t>(random() % 16), payload);
      if (random() % 4 == 0) virtio.back_end.change_config(payload, random() % 2 == 0);
      if (random() % 4 == 0) virtio.set_status(0);
      if (random() % 4 == 0) virtio.put(PciTransport::kDeviceConfig + random() % 20, 4, random());
      virtio.settle();
      if (virtio.status() == 0) virtio.start();
    }
    if (virtio.losses > 0) CHECK(virtio.front_end->state() == FrontEnd::State::Lost);
  }
}
