// blk::Storage: which images are served.
#include "backends/blk/storage.h"

#include <fcntl.h>

#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"

namespace {

int code(const ipc::Result<blk::Storage>& storage) {
  return storage ? 0 : storage.error().code;
}

}  // namespace

SCENARIO("storage: a raw file of whole sectors", "[blk]") {
  const auto storage = blk::Storage::adopt(support::make_memfd(3 * 512, support::kSeals), blk::Writes::Allowed);
  REQUIRE(storage);
  CHECK(storage->sectors() == 3);
  CHECK_FALSE(storage->read_only());
  CHECK(storage->logical_block() == 512);
}

SCENARIO("storage: what is no disk", "[blk]") {
  CHECK(code(blk::Storage::adopt(support::make_memfd(0, 0), blk::Writes::Allowed)) == EINVAL);
  CHECK(code(blk::Storage::adopt(support::make_memfd(513, 0), blk::Writes::Allowed)) == EINVAL);
  CHECK(code(blk::Storage::adopt(support::make_eventfd(), blk::Writes::Allowed)) == EINVAL);
  CHECK(code(blk::Storage::adopt(ipc::UniqueFd(), blk::Writes::Allowed)) == EBADF);
  CHECK(code(blk::Storage::adopt(ipc::UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)),
                                 blk::Writes::Allowed)) == EACCES);
  CHECK(code(blk::Storage::adopt(ipc::UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), blk::Writes::Refused)) ==
        EACCES);
}
