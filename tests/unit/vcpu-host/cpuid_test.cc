#include "vcpu-host/kvm/cpuid.h"

#include <algorithm>
#include <optional>

#include "tests/support/catch.h"

using vcpu_host::CpuidTable;

namespace {

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t eax, std::uint32_t ebx, std::uint32_t ecx,
                      std::uint32_t edx) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

CpuidTable parse(const std::vector<kvm_cpuid_entry2>& entries) {
  auto table = CpuidTable::parse(std::as_bytes(std::span(entries)), true);
  REQUIRE(table);
  return *table;
}

std::optional<kvm_cpuid_entry2> find(const std::vector<kvm_cpuid_entry2>& table, std::uint32_t function,
                                     std::uint32_t index = 0) {
  const auto found = std::ranges::find_if(
      table, [&](const auto& entry) { return entry.function == function && entry.index == index; });
  return found == table.end() ? std::nullopt : std::optional(*found);
}

const std::vector<kvm_cpuid_entry2> kHost{
    leaf(0, 0x10, 0, 0, 0),
    leaf(1, 0x800f12, 0x05100800, 1u << 5, 0),
    leaf(0xa, 0x07300402, 0, 0, 0x603),
    leaf(0xb, 1, 2, 0x100, 5),
    leaf(0x80000001, 0, 0, 1u << 2 | 1u << 23, 0),
    leaf(0x80000008, 0x3030, 0, 0xabcd700f, 0),
    leaf(0x8000000a, 1, 2, 3, 4),
    leaf(0x8000001e, 9, 9, 9, 9),
};

}  // namespace

SCENARIO("The guest is told neither of nested virtualization nor of performance counters") {
  const auto table = parse(kHost).for_vcpu(0, 1);
  CHECK_FALSE(find(table, 0x8000000a));
  CHECK_FALSE(find(table, 0xa));
  CHECK((find(table, 1)->ecx & 1u << 5) == 0);
  CHECK((find(table, 0x80000001)->ecx & (1u << 2 | 1u << 23)) == 0);
}

SCENARIO("Every vCPU learns its own APIC id, and all the same topology") {
  const auto table = parse(kHost).for_vcpu(2, 4);
  CHECK(find(table, 1)->ebx == 0x02040800);
  CHECK((find(table, 1)->edx & 1u << 28) != 0);
  CHECK(find(table, 0xb, 0)->ebx == 1);
  CHECK(find(table, 0xb, 1)->eax == 2);  // two bits of APIC id tell four cores apart
  CHECK(find(table, 0xb, 1)->ebx == 4);
  CHECK(find(table, 0xb, 1)->edx == 2);
  CHECK(find(table, 0x80000008)->ecx == 0xabcd2003);
  CHECK(find(table, 0x8000001e)->eax == 2);
}

SCENARIO("One vCPU is no multiprocessor") {
  const auto table = parse(kHost).for_vcpu(0, 1);
  CHECK((find(table, 1)->edx & 1u << 28) == 0);
  CHECK(find(table, 0xb, 1)->eax == 0);
}

SCENARIO("The guest knows that it is one, and has the timers that KVM has") {
  const auto with = parse(kHost).for_vcpu(0, 1);
  CHECK((find(with, 1)->ecx & (1u << 31 | 1u << 24 | 1u << 21)) == (1u << 31 | 1u << 24 | 1u << 21));
  const auto without = CpuidTable::parse(std::as_bytes(std::span(kHost)), false)->for_vcpu(0, 1);
  CHECK((find(without, 1)->ecx & 1u << 24) == 0);
}

SCENARIO("What is no table of leaves is refused") {
  std::vector<std::byte> bytes(sizeof(kvm_cpuid_entry2) - 1);
  CHECK_FALSE(CpuidTable::parse({}, true));
  CHECK_FALSE(CpuidTable::parse(bytes, true));
  bytes.resize(sizeof(kvm_cpuid_entry2) * vcpu_host::kMaxCpuidEntries);
  CHECK_FALSE(CpuidTable::parse(bytes, true));
}
