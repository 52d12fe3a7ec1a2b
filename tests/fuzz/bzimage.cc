// Any bytes as a bzImage: the magic numbers are put right, so that all of it reaches the parser.
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/fuzz/boot_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> image(size);
  if (size > 0) std::memcpy(image.data(), data, size);
  if (size >= 0x206) {
    std::memcpy(image.data() + 0x1fe, "\x55\xaa", 2);
    std::memcpy(image.data() + 0x202, "HdrS", 4);
  }
  boot_fuzz::load(image);
  return 0;
}
