#include "vcpu-host/devices/reset.h"

#include <algorithm>

namespace vcpu_host {
namespace {

constexpr std::byte kResetBit{0x04};
constexpr std::byte kPulseResetLine{0xfe};

}  // namespace

void ResetControl::read(std::uint64_t /*offset*/, std::span<std::byte> data) {
  std::ranges::fill(data, value_);
}

void ResetControl::write(std::uint64_t /*offset*/, std::span<const std::byte> data) {
  if (data.size() != 1) return;
  const bool rises = (value_ & kResetBit) == std::byte{0} && (data[0] & kResetBit) != std::byte{0};
  value_ = data[0];
  if (rises) reset_();
}

// All ones, as where nothing is: drivers conclude that there is no controller.
void KeyboardReset::read(std::uint64_t /*offset*/, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0xff});
}

void KeyboardReset::write(std::uint64_t /*offset*/, std::span<const std::byte> data) {
  if (data[0] == kPulseResetLine) reset_();
}

}  // namespace vcpu_host
