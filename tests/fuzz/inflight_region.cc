// An in-flight region as a hostile front end would give it: which layout, 32 steps of the device, the
// region, then guest memory. What comes of it must be a ring that works, whatever it holds.
#include "tests/fuzz/ring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ring_fuzz::Ram ram;
  constexpr std::size_t kSteps = 32;
  if (size < 1 + kSteps) return 0;
  const auto layout = data[0] % 2 == 0 ? support::Layout::Split : support::Layout::Packed;
  const std::span<const std::uint8_t> steps(data + 1, kSteps);
  std::span<const std::uint8_t> rest(data + 1 + kSteps, size - 1 - kSteps);

  const bool packed = layout == support::Layout::Packed;
  const std::size_t bytes =
      packed ? virtio::packed_inflight_bytes(ring_fuzz::kSize) : virtio::inflight_bytes(ring_fuzz::kSize);
  alignas(64) static std::array<std::byte, 1024> storage;
  ring_fuzz::require(bytes <= storage.size());
  const std::span<std::byte> region = std::span(storage).first(bytes);
  std::ranges::fill(region, std::byte{0});
  const std::size_t given = std::min(rest.size(), bytes);
  if (given > 0) std::memcpy(region.data(), rest.data(), given);
  ram.fill(rest.subspan(given));

  // Twice: the second takes up what the first, which ends in mid-work, has left.
  for (int lives = 0; lives < 2; ++lives) {
    auto queue = ring_fuzz::make_queue(ram, layout, packed ? ring_fuzz::kFreshPacked : 0, region);
    if (!queue) return 0;
    ring_fuzz::Device device(ram, std::move(*queue));
    for (const std::uint8_t choice : steps)
      if (!device.step(choice)) break;
    if (lives == 1) device.finish();
  }
  return 0;
}
