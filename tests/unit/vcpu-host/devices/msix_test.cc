#include "vcpu-host/devices/msix.h"

#include "tests/support/catch.h"
#include "tests/support/fake_hypervisor.h"
#include "vcpu-host/devices/event.h"

using namespace vcpu_host;

namespace {

constexpr std::uint16_t kEnable = 0x8000;
constexpr std::uint16_t kFunctionMask = 0x4000;

struct Fixture {
  FakeHypervisor hypervisor;
  std::unique_ptr<Msix> msix = *Msix::create(hypervisor, 3);
  ipc::UniqueFd first = make_event();
  ipc::UniqueFd second = make_event();

  void word(std::size_t offset, std::uint32_t value) { msix->write_table(offset, std::as_bytes(std::span(&value, 1))); }
  std::uint32_t word(std::size_t offset) const {
    std::uint32_t value = 0;
    msix->read_table(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void set(std::size_t vector, std::uint32_t data, bool masked) {
    word(16 * vector, 0xfee01000);
    word(16 * vector + 4, 0);
    word(16 * vector + 8, data);
    word(16 * vector + 12, masked ? 1 : 0);
  }
  std::uint64_t pending() const {
    std::uint64_t value = 0;
    msix->read_pending(0, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
};

}  // namespace

SCENARIO("msix: an unmasked vector delivers its message", "[pci-6.8.2]") {
  Fixture f;
  f.msix->bind(f.first, 1);
  f.set(1, 0x31, false);
  CHECK(f.hypervisor.connections() == 0);
  f.msix->set_control(kEnable, true);
  signal(f.first);
  CHECK(f.hypervisor.delivered() == std::vector{MsiMessage{0xfee01000, 0x31}});
  WHEN("the message changes while it is unmasked") {
    f.word(16 + 8, 0x32);
    THEN("the next interrupt has the new one") {
      signal(f.first);
      CHECK(f.hypervisor.delivered() == std::vector{MsiMessage{0xfee01000, 0x32}});
    }
  }
  WHEN("the function is masked, disabled, or no bus master") {
    const auto [control, master] =
        GENERATE(std::pair<std::uint16_t, bool>{kEnable | kFunctionMask, true}, std::pair<std::uint16_t, bool>{0, true},
                 std::pair<std::uint16_t, bool>{kEnable, false});
    f.msix->set_control(control, master);
    signal(f.first);
    THEN("the interrupt is pending until it may go") {
      CHECK(f.hypervisor.delivered().empty());
      CHECK(f.pending() == 1u << 1);
      f.msix->set_control(kEnable, true);
      CHECK(f.hypervisor.delivered().size() == 1);
      CHECK(f.pending() == 0);
    }
  }
}

SCENARIO("msix: several events share a vector", "[pci-6.8.2]") {
  Fixture f;
  f.msix->set_control(kEnable, true);
  f.set(0, 0x30, false);
  f.msix->bind(f.first, 0);
  f.msix->bind(f.second, 0);
  signal(f.first);
  signal(f.second);
  CHECK(f.hypervisor.delivered().size() == 2);
  f.msix->unbind(f.first);
  CHECK(f.hypervisor.connections() == 1);
}

SCENARIO("msix: a message that the hypervisor refuses is not sent", "[hostile]") {
  Fixture f;
  f.hypervisor.refuse_routes = true;
  f.msix->bind(f.first, 0);
  f.msix->set_control(kEnable, true);
  f.set(0, 0x30, false);
  CHECK(f.hypervisor.connections() == 0);
  f.hypervisor.refuse_routes = false;
  f.word(8, 0x33);
  CHECK(f.hypervisor.connections() == 1);
}

SCENARIO("msix: the table is accessed by four or eight aligned bytes inside it", "[pci-6.8.2]") {
  Fixture f;
  CHECK(f.word(12) == 1);  // masked at reset
  f.set(2, 0x77, true);
  CHECK(f.word(40) == 0x77);
  f.word(48, 0x55);  // beyond
  CHECK(f.word(48) == 0);
  const std::uint16_t half = 0xffff;
  f.msix->write_table(40, std::as_bytes(std::span(&half, 1)));
  f.msix->write_table(0xffffffff, std::as_bytes(std::span(&half, 1)));
  CHECK(f.word(40) == 0x77);
}
