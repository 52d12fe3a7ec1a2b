#include "backends/blk/engine.h"

#include <poll.h>

#include <array>
#include <vector>

#include "sandbox/policy/blk.h"

namespace blk {
namespace {

constexpr unsigned kSubmissionEntries = 256;

ipc::Result<> make_ring(io_uring& ring) {
  // The thread that submits is the only one, and takes completions only when it asks (Linux 6.1).
  for (const unsigned mode : {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0u}) {
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | mode;
    parameters.cq_entries = kCompletionEntries;
    const int result = io_uring_queue_init_params(kSubmissionEntries, &ring, &parameters);
    if (result == 0) return {};
    if (result != -EINVAL || mode == 0) return ipc::failure(-result, "make an io_uring");
  }
  return ipc::failure(EINVAL, "make an io_uring");
}

}  // namespace

ipc::Result<std::unique_ptr<Engine>> Engine::create() {
  std::unique_ptr<Engine> engine(new Engine());
  TRY(make_ring(engine->ring_));
  engine->fd_ = ipc::UniqueFd(engine->ring_.ring_fd);
  TRY(engine->restrict_and_enable());
  return engine;
}

Engine::~Engine() {
  if (!fd_) return;
  [[maybe_unused]] const int closed_below = fd_.release();
  io_uring_queue_exit(&ring_);
}

ipc::Result<> Engine::restrict_and_enable() {
  int result = io_uring_register_files_sparse(&ring_, kFileSlots);
  if (result != 0) return ipc::failure(-result, "register the io_uring's files");
  std::vector<io_uring_restriction> rules;
  for (const sandbox::RingRule& rule : sandbox::kBlkRingOpcodes) {
    io_uring_restriction& entry = rules.emplace_back();
    entry.opcode = IORING_RESTRICTION_SQE_OP;
    entry.sqe_op = rule.operation;
  }
  for (const sandbox::RingRule& rule : sandbox::kBlkRingRegister) {
    io_uring_restriction& entry = rules.emplace_back();
    entry.opcode = IORING_RESTRICTION_REGISTER_OP;
    entry.register_op = rule.operation;
  }
  io_uring_restriction& fixed_files = rules.emplace_back();
  fixed_files.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
  fixed_files.sqe_flags = IOSQE_FIXED_FILE;
  result = io_uring_register_restrictions(&ring_, rules.data(), static_cast<unsigned>(rules.size()));
  if (result != 0) return ipc::failure(-result, "restrict the io_uring");
  result = io_uring_enable_rings(&ring_);
  if (result != 0) return ipc::failure(-result, "enable the io_uring");
  return {};
}

ipc::Result<> Engine::set_file(unsigned slot, const ipc::UniqueFd& file) {
  int fd = file.get();
  const int result = io_uring_register_files_update(&ring_, slot, &fd, 1);
  if (result != 1) return ipc::failure(result < 0 ? -result : EIO, "register a file of the io_uring");
  return {};
}

void Engine::clear_file(unsigned slot) {
  int none = -1;
  io_uring_register_files_update(&ring_, slot, &none, 1);  // cannot fail for a slot inside the table
}

ipc::Result<> Engine::enter(bool block) {
  const int result = block ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
  // EAGAIN, EBUSY: the kernel wants completions taken first. EINTR: a signal.
  if (result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY) return {};
  return ipc::failure(-result, "io_uring_enter");
}

io_uring_sqe* Engine::next() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {  // the submission queue is full: hand it over
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

void Engine::queue(io_uring_sqe* entry, Token token) {
  io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(entry, token.encode());
}

void Engine::poll(unsigned slot, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_add(entry, static_cast<int>(slot), POLLIN);
  queue(entry, token);
}

void Engine::watch(unsigned slot, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_multishot(entry, static_cast<int>(slot), POLLIN);
  queue(entry, token);
}

void Engine::unwatch(Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_remove(entry, token.encode());
  queue(entry, Token{});
}

void Engine::read(std::span<const iovec> parts, std::uint64_t offset, Token token) {
  io_uring_sqe* entry = next();
  if (parts.size() == 1)
    io_uring_prep_read(entry, index_of(FileSlot::Image), parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len),
                       offset);
  else
    io_uring_prep_readv(entry, index_of(FileSlot::Image), parts.data(), static_cast<unsigned>(parts.size()), offset);
  queue(entry, token);
}

void Engine::write(std::span<const iovec> parts, std::uint64_t offset, bool durable, Token token) {
  io_uring_sqe* entry = next();
  if (parts.size() == 1)
    io_uring_prep_write(entry, index_of(FileSlot::Image), parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len),
                        offset);
  else
    io_uring_prep_writev(entry, index_of(FileSlot::Image), parts.data(), static_cast<unsigned>(parts.size()), offset);
  if (durable) entry->rw_flags = RWF_DSYNC;
  queue(entry, token);
}

void Engine::flush(Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_fsync(entry, index_of(FileSlot::Image), IORING_FSYNC_DATASYNC);
  queue(entry, token);
}

void Engine::fallocate(int mode, std::uint64_t offset, std::uint64_t length, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_fallocate(entry, index_of(FileSlot::Image), mode, static_cast<off_t>(offset),
                          static_cast<off_t>(length));
  queue(entry, token);
}

}  // namespace blk
