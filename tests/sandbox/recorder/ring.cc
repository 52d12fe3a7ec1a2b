// Before a submission, which no filter sees into: what is submitted. Linked with --wrap for each of these functions.
#include <liburing.h>
#include <unistd.h>

#include "tests/sandbox/recorder/numbers.h"

namespace {

void show(const io_uring& ring) {
  for (unsigned at = ring.sq.sqe_head; at != ring.sq.sqe_tail; ++at)
    ::syscall(recorder::kOperation, ring.sq.sqes[at & ring.sq.ring_mask].opcode);  // before the seal: ENOSYS
}

}  // namespace

#define RECORDED(name, parameters, ...) \
  int __real_##name parameters;         \
  int __wrap_##name parameters;         \
  int __wrap_##name parameters {        \
    show(*ring);                        \
    return __real_##name(__VA_ARGS__);  \
  }

extern "C" {  // NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
RECORDED(io_uring_submit, (io_uring * ring), ring)
RECORDED(io_uring_submit_and_get_events, (io_uring * ring), ring)
RECORDED(io_uring_submit_and_wait, (io_uring * ring, unsigned count), ring, count)
RECORDED(io_uring_submit_and_wait_timeout,
         (io_uring * ring, io_uring_cqe** first, unsigned count, __kernel_timespec* limit, sigset_t* mask), ring, first,
         count, limit, mask)
}  // NOLINTEND(bugprone-reserved-identifier)
