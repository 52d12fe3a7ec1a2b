#include "ipc/guest_memory.h"

#include <sys/mman.h>

#include <array>
#include <limits>

#include "tests/support/catch.h"

using ipc::Access;
using ipc::GuestAddress;
using ipc::GuestMemory;
using ipc::Mapping;
using ipc::UniqueFd;

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

Mapping pages(std::size_t count) {
  const UniqueFd file(::memfd_create("guest memory test", MFD_CLOEXEC));
  REQUIRE(::ftruncate(file.get(), static_cast<off_t>(count * kPage)) == 0);
  auto mapping = Mapping::of(file, 0, count * kPage, Access::ReadWrite);
  REQUIRE(mapping);
  return std::move(*mapping);
}

}  // namespace

SCENARIO("A slice of guest RAM lies inside one region", "[security-1][security-5][security-15]") {
  GIVEN("one region of two pages at 0x10000, and one right behind it") {
    GuestMemory memory;
    REQUIRE(memory.add_region({0x10000}, 2 * kPage, pages(2)));
    REQUIRE(memory.add_region({0x12000}, kPage, pages(1)));

    THEN("every range inside a region is found, to its last byte") {
      CHECK(memory.slice({0x10000}, 2 * kPage));
      CHECK(memory.slice({0x11fff}, 1));
      CHECK(memory.slice({0x12000}, kPage));
      CHECK(memory.slice({0x10000}, 0)->size() == 0);
    }
    THEN("a range that starts before, ends behind or spans regions is not") {
      CHECK_FALSE(memory.slice({0xffff}, 1));
      CHECK_FALSE(memory.slice({0x10000}, 2 * kPage + 1));
      CHECK_FALSE(memory.slice({0x11fff}, 2));
      CHECK_FALSE(memory.slice({0x13000}, 1));
      CHECK_FALSE(memory.slice({0x13000}, 0));
    }
    THEN("a length that would wrap the address space is not found") {
      CHECK_FALSE(memory.slice({0x10001}, kTop));
      CHECK_FALSE(memory.slice({kTop}, 1));
      CHECK_FALSE(memory.slice({kTop}, kTop));
    }
  }
}

SCENARIO("A region that cannot be right is refused", "[security-1]") {
  GuestMemory memory;
  REQUIRE(memory.add_region({0x10000}, kPage, pages(1)));

  CHECK_FALSE(memory.add_region({0x20000}, 0, pages(1)));           // empty
  CHECK_FALSE(memory.add_region({0x20000}, kPage + 1, pages(1)));   // longer than its mapping
  CHECK_FALSE(memory.add_region({0x20000}, kPage, pages(1), 1));    // leaves its mapping
  CHECK_FALSE(memory.add_region({0x20000}, 1, pages(1), kTop));     // offset beyond all
  CHECK_FALSE(memory.add_region({kTop - 10}, kPage, pages(1)));     // wraps
  CHECK_FALSE(memory.add_region({0x10fff}, kPage, pages(1)));       // overlaps at its start
  CHECK_FALSE(memory.add_region({0x0f001}, kPage, pages(1)));       // overlaps at its end
  CHECK(memory.add_region({0x11000}, kPage, pages(1)));             // adjacent
  CHECK(memory.add_region({kTop - (kPage - 1)}, kPage, pages(1)));  // up to the last address
}

SCENARIO("A region is removed by its exact range") {
  GuestMemory memory;
  REQUIRE(memory.add_region({0x10000}, kPage, pages(1)));
  CHECK_FALSE(memory.remove_region({0x10000}, kPage - 1));
  CHECK(memory.slice({0x10000}, 1));
  CHECK(memory.remove_region({0x10000}, kPage));
  CHECK_FALSE(memory.slice({0x10000}, 1));
  CHECK(memory.empty());
}

SCENARIO("Copies are bounded by the shorter side") {
  GuestMemory memory;
  REQUIRE(memory.add_region({0}, kPage, pages(1)));
  const auto buffer = memory.slice({16}, 4);
  REQUIRE(buffer);

  const std::array<std::byte, 8> in{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}};
  CHECK(buffer->copy_from(in) == 4);
  std::array<std::byte, 8> out{};
  CHECK(memory.slice({16}, 8)->copy_to(out) == 8);
  CHECK(out[3] == std::byte{4});
  CHECK(out[4] == std::byte{0});

  CHECK(buffer->part(1, 3)->size() == 3);
  CHECK_FALSE(buffer->part(1, 4));
  CHECK_FALSE(buffer->part(5, 0));
  CHECK_FALSE(buffer->part(std::numeric_limits<std::size_t>::max(), 2));
}

SCENARIO("Objects in guest RAM are aligned and whole") {
  GuestMemory memory;
  REQUIRE(memory.add_region({0}, kPage, pages(1)));
  CHECK(memory.slice({8}, 16)->objects<std::uint64_t>(2));
  CHECK_FALSE(memory.slice({8}, 15)->objects<std::uint64_t>(2));
  CHECK_FALSE(memory.slice({4}, 16)->objects<std::uint64_t>(1));
  CHECK_FALSE(memory.slice({8}, 16)->objects<std::uint64_t>(std::numeric_limits<std::size_t>::max()));
}
