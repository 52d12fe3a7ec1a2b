#include "vcpu-host/bus.h"

#include <array>
#include <limits>

#include "tests/support/catch.h"

using vcpu_host::Bus;
using vcpu_host::BusDevice;

namespace {

// Remembers what it was asked.
class Recorder final : public BusDevice {
 public:
  void read(std::uint64_t offset, std::span<std::byte> data) override {
    last_offset = offset;
    for (std::byte& byte : data) byte = std::byte{0x5a};
  }
  void write(std::uint64_t offset, std::span<const std::byte> data) override {
    last_offset = offset;
    written += data.size();
  }
  std::uint64_t last_offset = std::numeric_limits<std::uint64_t>::max();
  std::size_t written = 0;
};

constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

}  // namespace

SCENARIO("An access reaches the device whose range holds it") {
  Bus bus;
  Recorder low;
  Recorder high;
  REQUIRE(bus.add(0x100, 8, low));
  REQUIRE(bus.add(0x108, 8, high));
  std::array<std::byte, 4> data{};

  bus.read(0x104, data);
  CHECK(low.last_offset == 4);
  CHECK(data[3] == std::byte{0x5a});
  bus.write(0x108, data);
  CHECK(high.last_offset == 0);
  CHECK(high.written == 4);
}

SCENARIO("An access that no device answers reads as all ones") {
  Bus bus;
  Recorder device;
  REQUIRE(bus.add(0x100, 8, device));
  std::array<std::byte, 4> data{};

  for (const std::uint64_t address :
       {std::uint64_t{0}, std::uint64_t{0xfc}, std::uint64_t{0x106}, std::uint64_t{0x108}, kTop}) {
    data.fill(std::byte{0});
    bus.read(address, data);
    CHECK(data == std::array{std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}});
    bus.write(address, data);
  }
  CHECK(device.written == 0);
}

SCENARIO("Ranges neither overlap nor wrap") {
  Bus bus;
  Recorder device;
  REQUIRE(bus.add(0x100, 0x10, device));
  CHECK_FALSE(bus.add(0x10f, 1, device));
  CHECK_FALSE(bus.add(0xf8, 9, device));
  CHECK_FALSE(bus.add(0x200, 0, device));
  CHECK_FALSE(bus.add(kTop, 2, device));
  CHECK(bus.add(kTop, 1, device));
  CHECK(bus.add(0xf8, 8, device));
}

SCENARIO("A removed device answers no more") {
  Bus bus;
  Recorder device;
  REQUIRE(bus.add(0x100, 4, device));
  REQUIRE(bus.add(0x200, 4, device));
  bus.remove(device);
  std::array<std::byte, 1> data{};
  bus.read(0x200, data);
  CHECK(data[0] == std::byte{0xff});
  CHECK(bus.add(0x100, 4, device));
}
