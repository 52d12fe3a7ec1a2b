// virtio::MemoryTable: what the front end may give as guest memory.
#include "backends/virtio/memory_table.h"

#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"

using ipc::vhost_user::MemoryRegion;

SCENARIO("memory table: addresses are translated inside regions only", "[memory]") {
  const ipc::UniqueFd file = support::make_memfd(1 << 20, support::kSeals);
  virtio::MemoryTable table;
  REQUIRE(table.add({0x1000, 0x2000, 0x70000, 0x3000}, file));
  CHECK(table.to_guest(0x70000) == ipc::GuestAddress{0x1000});
  CHECK(table.to_guest(0x71fff) == ipc::GuestAddress{0x2fff});
  CHECK_FALSE(table.to_guest(0x72000));
  CHECK_FALSE(table.to_guest(0x6ffff));
  CHECK(table.memory().slice({0x1000}, 0x2000));
  CHECK_FALSE(table.memory().slice({0x1000}, 0x2001));
}

SCENARIO("memory table: two regions side by side are not one buffer", "[memory]") {
  const ipc::UniqueFd file = support::make_memfd(1 << 20, support::kSeals);
  virtio::MemoryTable table;
  REQUIRE(table.add({0x1000, 0x1000, 0x70000, 0}, file));
  REQUIRE(table.add({0x2000, 0x1000, 0x80000, 0x1000}, file));
  CHECK_FALSE(table.memory().slice({0x1800}, 0x1000));
}

SCENARIO("memory table: what is refused, with its errno", "[memory]") {
  const ipc::UniqueFd file = support::make_memfd(1 << 20, support::kSeals);
  virtio::MemoryTable table;
  REQUIRE(table.add({0x10000, 0x1000, 0x70000, 0}, file));
  const auto code = [&](const MemoryRegion& region, const ipc::UniqueFd& from) {
    const auto added = table.add(region, from);
    return added ? 0 : added.error().code;
  };
  CHECK(code({0, 0, 0, 0}, file) == EINVAL);
  CHECK(code({0, 0x1000, 0, 1 << 20}, file) == EINVAL);
  CHECK(code({0x10fff, 0x1000, 0x90000, 0}, file) == EINVAL);
  CHECK(code({0x20000, 0x1000, 0x70fff, 0}, file) == EINVAL);
  CHECK(code({~std::uint64_t{0} - 10, 0x1000, 0x90000, 0}, file) == EINVAL);
  CHECK(code({0x20000, 0x1000, 0x90000, 0}, support::make_memfd(1 << 20, F_SEAL_GROW)) == EPERM);
  CHECK(code({0x20000, 0x1000, 0x90000, 0}, support::make_eventfd()) == EPERM);
  for (std::uint64_t i = 1; i < ipc::vhost_user::kMaxMemoryRegions; ++i)
    REQUIRE(code({i << 32, 0x1000, i << 32, 0}, file) == 0);
  CHECK(code({std::uint64_t{99} << 32, 0x1000, std::uint64_t{99} << 32, 0}, file) == ENOSPC);
}
