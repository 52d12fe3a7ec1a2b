// Any bytes as an ELF kernel: the magic number is put right, so that all of it reaches the parser.
#include <elf.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/fuzz/boot_image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> image(size);
  if (size > 0) std::memcpy(image.data(), data, size);
  if (size >= EI_NIDENT) std::memcpy(image.data(), ELFMAG, SELFMAG);
  boot_fuzz::load(image);
  return 0;
}
