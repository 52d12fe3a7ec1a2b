#include "vcpu-host/devices/pci.h"

#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/devices/access.h"
#include "vcpu-host/devices/reset.h"

using namespace vcpu_host;

namespace {

struct Memory final : BusDevice {
  void read(std::uint64_t, std::span<std::byte> data) override { std::ranges::fill(data, std::byte{0x42}); }
  void write(std::uint64_t, std::span<const std::byte>) override {}
};

struct Card final : PciFunction {
  explicit Card(std::uint64_t bar_bytes) : PciFunction({0x1234, 0x5678, 9, 0xff0000, 0x1111, 0x2222}) {
    add_memory_bar(0, bar_bytes, memory);
    const std::byte body[] = {std::byte{1}, std::byte{2}};
    const std::byte writable[] = {std::byte{0}, std::byte{0x0f}};
    capability = add_capability(0x09, body, writable);
  }
  Memory memory;
  std::size_t capability;
};

struct Fixture {
  Bus mmio;
  int resets = 0;
  ResetControl reset{[this] { ++resets; }};
  PciBus pci{mmio, reset};
  Card card{0x8000};
  bool added = pci.add(3, card);

  // Through mechanism #1, and through ECAM
  std::uint64_t config(unsigned slot, unsigned at, std::size_t size) {
    put(pci.ports(), 0, 0x80000000u | slot << 11 | (at & 0xfc), 4);
    return get(pci.ports(), 4 + at % 4, size);
  }
  void set_config(unsigned slot, unsigned at, std::uint64_t value, std::size_t size) {
    put(pci.ports(), 0, 0x80000000u | slot << 11 | (at & 0xfc), 4);
    put(pci.ports(), 4 + at % 4, value, size);
  }
  std::uint64_t ecam(unsigned slot, unsigned at, std::size_t size) { return get(pci.ecam(), slot << 15 | at, size); }
  bool decodes(std::uint64_t address) const {
    std::byte byte{};
    mmio.read(address, std::span(&byte, 1));
    return byte == std::byte{0x42};
  }
};

}  // namespace

SCENARIO("pci: both mechanisms show the same functions", "[pci]") {
  Fixture f;
  REQUIRE(f.added);
  CHECK(f.config(0, 0, 4) == 0x29c08086);
  CHECK(f.config(0, 0x0a, 2) == 0x0600);
  CHECK(f.config(3, 0, 4) == 0x56781234);
  CHECK(f.config(3, 2, 2) == 0x5678);
  CHECK(f.config(3, 3, 1) == 0x56);
  CHECK(f.ecam(3, 0, 4) == 0x56781234);
  CHECK(f.ecam(3, 0x2c, 4) == 0x22221111);
  CHECK(f.ecam(3, 0x100, 4) == 0);  // no extended capabilities
  CHECK(f.config(4, 0, 4) == 0xffffffff);
  CHECK(f.ecam(4, 0, 2) == 0xffff);
  CHECK(get(f.pci.ecam(), 3u << 15 | 1u << 12, 4) == 0xffffffff);  // function 1
  CHECK(get(f.pci.ecam(), (3u << 15) + 0xffe, 4) == 0xffffffff);   // into function 1
}

SCENARIO("pci: slots are taken once", "[pci]") {
  Fixture f;
  Card other(0x1000);
  CHECK_FALSE(f.pci.add(3, other));
  CHECK_FALSE(f.pci.add(0, other));
  CHECK_FALSE(f.pci.add(32, other));
  CHECK(f.pci.add(31, other));
}

SCENARIO("pci: the address register is four bytes wide, the reset register is inside it", "[pci]") {
  Fixture f;
  put(f.pci.ports(), 0, 0x80001800, 4);
  put(f.pci.ports(), 1, 0x06);
  CHECK(f.resets == 1);
  put(f.pci.ports(), 0, 0x12);
  put(f.pci.ports(), 0, 0x1234, 2);
  CHECK(get(f.pci.ports(), 0, 4) == 0x80001800);
  CHECK(get(f.pci.ports(), 1) == 0x06);
  WHEN("the enable bit is clear") {
    put(f.pci.ports(), 0, 0x00001800, 4);
    THEN("nothing answers") {
      CHECK(get(f.pci.ports(), 4, 4) == 0xffffffff);
    }
  }
  WHEN("another bus is selected") {
    put(f.pci.ports(), 0, 0x80011800, 4);
    THEN("nothing answers") {
      CHECK(get(f.pci.ports(), 4, 4) == 0xffffffff);
    }
  }
}

SCENARIO("pci: a BAR tells its size and decodes where it is put", "[pci-6.2.5]") {
  Fixture f;
  const std::uint64_t assigned = f.config(3, 0x10, 4) & ~0xfull;
  CHECK(assigned >= layout::kPciWindow);
  CHECK((f.config(3, 0x10, 4) & 0xf) == 0x4);  // 64 bits, memory
  CHECK_FALSE(f.decodes(assigned));
  f.set_config(3, 0x04, 0x2, 2);
  CHECK(f.decodes(assigned));
  CHECK_FALSE(f.decodes(assigned + 0x8000));
  WHEN("all ones are written") {
    f.set_config(3, 0x10, 0xffffffff, 4);
    f.set_config(3, 0x14, 0xffffffff, 4);
    THEN("the size is read, and it decodes nowhere") {
      CHECK(f.config(3, 0x10, 4) == 0xffff8004);
      CHECK(f.config(3, 0x14, 4) == 0xffffffff);
      CHECK_FALSE(f.decodes(assigned));
    }
  }
  WHEN("it is moved inside the window") {
    f.set_config(3, 0x10, 0xd0000000, 4);
    THEN("it answers there alone") {
      CHECK(f.decodes(0xd0000000));
      CHECK_FALSE(f.decodes(assigned));
    }
  }
  WHEN("it is moved over RAM, the interrupt controllers or configuration space") {
    for (const std::uint64_t address : {0x0ull, 0x100000ull, 0xfec00000ull, 0xfee00000ull, 0xb0000000ull}) {
      f.set_config(3, 0x10, address, 4);
      CHECK_FALSE(f.decodes(address));
    }
  }
  WHEN("it is moved over another function's") {
    Card other(0x8000);
    REQUIRE(f.pci.add(4, other));
    const std::uint64_t theirs = f.config(4, 0x10, 4) & ~0xfull;
    f.set_config(4, 0x04, 0x2, 2);
    f.set_config(3, 0x10, theirs, 4);
    f.set_config(4, 0x04, 0x0, 2);
    THEN("it was not mapped, and does not come when the other goes") {
      CHECK_FALSE(f.decodes(theirs));
    }
  }
}

SCENARIO("pci: only what can be written is written", "[pci]") {
  Fixture f;
  for (unsigned at = 0; at < 256; at += 4) f.set_config(3, at, 0xffffffff, 4);
  CHECK(f.config(3, 0x00, 4) == 0x56781234);
  CHECK(f.config(3, 0x08, 4) == 0xff000009);
  CHECK((f.config(3, 0x06, 2) & 0x10) != 0);
  CHECK(f.config(3, 0x34, 1) == f.card.capability);
  CHECK(f.config(3, static_cast<unsigned>(f.card.capability), 4) == 0x0f010009);
  CHECK(f.config(3, 0x3d, 1) == 0);
}
