// A driver that rewrites its ring while the device parses it, on another thread: the input is which layout,
// then writes of 16 bits each, {place, value}, that are repeated until the device has made its rounds.
#include <atomic>
#include <thread>

#include "tests/fuzz/ring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ring_fuzz::Ram ram;
  if (size < 5) return 0;
  const auto layout = data[0] % 2 == 0 ? support::Layout::Split : support::Layout::Packed;
  const std::span<const std::uint8_t> writes(data + 1, (size - 1) / 4 * 4);
  ram.fill({});
  const auto words = std::span(reinterpret_cast<std::uint16_t*>(ram.driver.bytes().data()), ring_fuzz::kRam / 2);

  std::atomic<bool> stop = false;
  std::thread driver([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      for (std::size_t i = 0; i < writes.size(); i += 4) {
        const std::size_t place = (writes[i] | writes[i + 1] << 8) % words.size();
        const auto value = static_cast<std::uint16_t>(writes[i + 2] | writes[i + 3] << 8);
        std::atomic_ref(words[place]).store(value, std::memory_order_relaxed);
      }
    }
  });
  for (int lives = 0; lives < 8; ++lives) {
    auto queue =
        ring_fuzz::make_queue(ram, layout, layout == support::Layout::Packed ? ring_fuzz::kFreshPacked : 0, {});
    ring_fuzz::require(queue.has_value());
    ring_fuzz::Device device(ram, std::move(*queue));
    for (unsigned step = 0; step < 64; ++step)
      if (!device.step(static_cast<std::uint8_t>(step))) break;
    device.finish();
  }
  stop.store(true, std::memory_order_relaxed);
  driver.join();
  return 0;
}
