// What the rings of back ends do, and what they refuse, whoever submits it.
#include <fcntl.h>

#include "backends/serve/uring_engine.h"
#include "sandbox/policy/blk.h"
#include "sandbox/policy/net.h"
#include "tests/support/catch.h"

namespace {

struct Kind {
  std::string name;
  std::span<const sandbox::RingRule> operations;
  std::uint16_t buffers;
};

// What comes of an operation of this number, prepared as nothing sensible.
int result_of(serve::UringEngine& engine, std::uint8_t operation, std::uint8_t flags) {
  io_uring_sqe* const entry = engine.next();
  io_uring_prep_rw(operation, entry, 0, nullptr, 0, 0);
  entry->flags = flags;
  entry->user_data = serve::Token{.op = serve::Op::Io, .slot = operation}.encode();
  for (int tries = 0; tries < 100; ++tries) {
    const auto events = engine.wait({.at_most = 10'000'000});
    REQUIRE(events);
    for (const serve::Event& event : *events)
      if (event.token.op == serve::Op::Io && event.token.slot == operation) return event.result;
  }
  return 1;  // it was begun, and waits
}

}  // namespace

SCENARIO("ring: every operation that its table does not list is refused", "[ring]") {
  const auto kind =
      GENERATE(Kind{"blk", sandbox::kBlkRingOpcodes, 0}, Kind{"blk, pinned memory", sandbox::kBlkPinnedRingOpcodes, 16},
               Kind{"net", sandbox::kNetRingOpcodes, 0});
  auto made = serve::UringEngine::create(
      {.queues = 1, .own_files = 1, .ring_operations = kind.operations, .buffers = kind.buffers});
  if (!made) SKIP_TEST("no io_uring here");
  serve::UringEngine& engine = **made;
  for (int operation = 0; operation < 256; ++operation) {
    const bool listed =
        std::ranges::any_of(kind.operations, [&](const auto& rule) { return rule.operation == operation; });
    const auto number = static_cast<std::uint8_t>(operation);
    INFO(kind.name << ", operation " << operation);
    const int fixed = result_of(engine, number, IOSQE_FIXED_FILE);
    // EINVAL: no such operation, in this kernel.
    if (listed)
      CHECK(fixed != -EACCES);
    else
      CHECK((fixed == -EACCES || fixed == -EINVAL));
    if (!listed) continue;
    // On descriptors that are no fixed files, or linked to others: refused.
    CHECK(result_of(engine, number, 0) == -EACCES);
    CHECK(result_of(engine, number, IOSQE_FIXED_FILE | IOSQE_IO_LINK) == -EACCES);
    CHECK(result_of(engine, number, IOSQE_FIXED_FILE | IOSQE_ASYNC) == -EACCES);
    CHECK(result_of(engine, number, IOSQE_FIXED_FILE | IOSQE_IO_DRAIN) == -EACCES);
    CHECK(result_of(engine, number, IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT) < 0);
  }
}

SCENARIO("ring: nothing can be registered with it but files in their places, and pinned memory where it was asked for",
         "[ring]") {
  const std::uint16_t buffers = GENERATE(std::uint16_t{0}, std::uint16_t{16});
  auto made = serve::UringEngine::create(
      {.queues = 1, .own_files = 1, .ring_operations = sandbox::kBlkRingOpcodes, .buffers = buffers});
  if (!made) SKIP_TEST("no io_uring here");
  for (unsigned operation = 0; operation < 64; ++operation) {
    INFO("io_uring_register " << operation);
    const bool allowed =
        operation == IORING_REGISTER_FILES_UPDATE || (buffers > 0 && operation == IORING_REGISTER_BUFFERS_UPDATE);
    const int result = ::io_uring_register((*made)->fd().get(), operation, nullptr, 0);
    if (allowed)
      CHECK(result != -EACCES);
    else
      CHECK((result == -EACCES || result == -EINVAL || result == -EBADFD));
  }
}
