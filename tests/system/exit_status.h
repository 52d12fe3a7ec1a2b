// What `bulkhead run` promises of its exit status, spelled out again so that a change of it is seen.
#pragma once

namespace system_test {

constexpr int kPoweredOff = 0;
constexpr int kBadConfiguration = 2;
constexpr int kHostNotAble = 3;
constexpr int kGuestCrashed = 4;
constexpr int kChildLost = 5;

}  // namespace system_test
