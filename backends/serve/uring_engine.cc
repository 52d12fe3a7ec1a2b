#include "backends/serve/uring_engine.h"

#include <poll.h>

#include <vector>
namespace serve {
namespace {

constexpr unsigned kSubmissionEntries = 256;

ipc::Result<> make_ring(io_uring& ring) {
  // The thread that submits is the only one, takes completions only when it asks (Linux 6.1), and sees in
  // the ring whether it should.
  constexpr unsigned kSingle = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  for (const unsigned mode : {kSingle, 0u}) {
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

ipc::Result<std::unique_ptr<UringEngine>> UringEngine::create(const EngineNeeds& needs) {
  std::unique_ptr<UringEngine> engine(new UringEngine(needs));
  TRY(make_ring(engine->ring_));
  engine->fd_ = ipc::UniqueFd(engine->ring_.ring_fd);
  TRY(engine->restrict_and_enable(needs));
  return engine;
}

UringEngine::~UringEngine() {
  if (!fd_) return;
  [[maybe_unused]] const int closed_below = fd_.release();
  io_uring_queue_exit(&ring_);
}

ipc::Result<> UringEngine::restrict_and_enable(const EngineNeeds& needs) {
  int result = io_uring_register_files_sparse(&ring_, slots());
  if (result != 0) return ipc::failure(-result, "register the io_uring's files");
  if (needs.buffers > 0) result = io_uring_register_buffers_sparse(&ring_, needs.buffers);
  if (result != 0) return ipc::failure(-result, "register the io_uring's buffers");
  std::vector<io_uring_restriction> rules;
  for (const sandbox::RingRule& rule : needs.ring_operations) {
    io_uring_restriction& entry = rules.emplace_back();
    entry.opcode = IORING_RESTRICTION_SQE_OP;
    entry.sqe_op = rule.operation;
  }
  const auto allow_to_register = [&](std::span<const sandbox::RingRule> operations) {
    for (const sandbox::RingRule& rule : operations) {
      io_uring_restriction& entry = rules.emplace_back();
      entry.opcode = IORING_RESTRICTION_REGISTER_OP;
      entry.register_op = rule.operation;
    }
  };
  allow_to_register(sandbox::kRingRegister);
  if (needs.buffers > 0) allow_to_register(sandbox::kRingRegisterBuffers);
  io_uring_restriction& fixed_files = rules.emplace_back();
  fixed_files.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
  fixed_files.sqe_flags = IOSQE_FIXED_FILE;
  result = io_uring_register_restrictions(&ring_, rules.data(), static_cast<unsigned>(rules.size()));
  if (result != 0) return ipc::failure(-result, "restrict the io_uring");
  result = io_uring_enable_rings(&ring_);
  if (result != 0) return ipc::failure(-result, "enable the io_uring");
  return {};
}

ipc::Result<> UringEngine::set_file(unsigned slot, const ipc::UniqueFd& file) {
  int fd = file.get();
  const int result = io_uring_register_files_update(&ring_, slot, &fd, 1);
  if (result != 1) return ipc::failure(result < 0 ? -result : EIO, "register a file of the io_uring");
  return {};
}

void UringEngine::clear_file(unsigned slot) {
  int none = -1;
  io_uring_register_files_update(&ring_, slot, &none, 1);  // cannot fail for a slot inside the table
}

ipc::Result<> UringEngine::set_buffer(unsigned place, iovec memory) {
  const __u64 no_tag = 0;
  const int result = io_uring_register_buffers_update_tag(&ring_, place, &memory, &no_tag, 1);
  if (result == -ENOMEM) return ipc::failure(ENOMEM, "more than may be locked (ulimit -l, LimitMEMLOCK=)");
  if (result != 1) return ipc::failure(result < 0 ? -result : EIO, "register a buffer of the io_uring");
  return {};
}

void UringEngine::clear_buffer(unsigned place) {
  const iovec none{};
  const __u64 no_tag = 0;
  io_uring_register_buffers_update_tag(&ring_, place, &none, &no_tag, 1);  // cannot fail for a place of the table
}

io_uring_sqe* UringEngine::next() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {  // the submission queue is full: hand it over
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

void UringEngine::poll(unsigned slot, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_add(entry, static_cast<int>(slot), POLLIN);
  queue(entry, token);
}

void UringEngine::watch(unsigned slot, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_multishot(entry, static_cast<int>(slot), POLLIN);
  queue(entry, token);
}

void UringEngine::unwatch(unsigned, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_remove(entry, token.encode());
  queue(entry, Token{});
}

void UringEngine::await_room(unsigned slot, Token token) {
  io_uring_sqe* entry = next();
  io_uring_prep_poll_add(entry, static_cast<int>(slot), POLLOUT);
  queue(entry, token);
}

// Operations to hand over, or completions that the kernel posts only when asked.
bool UringEngine::kernel_has_news() const {
  const unsigned flags = ipc::load_once(*ring_.sq.kflags);
  return io_uring_sq_ready(&ring_) > 0 || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

int UringEngine::enter(Wait wait) {
  if (!wait.sleeps() || io_uring_cq_ready(&ring_) > 0)
    return kernel_has_news() ? io_uring_submit_and_get_events(&ring_) : 0;
  if (wait.at_most == Wait::kForEver) return io_uring_submit_and_wait(&ring_, 1);
  constexpr std::uint64_t kSecond = 1'000'000'000;
  __kernel_timespec limit{.tv_sec = static_cast<long long>(wait.at_most / kSecond),
                          .tv_nsec = static_cast<long long>(wait.at_most % kSecond)};
  io_uring_cqe* first = nullptr;
  return io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
}

ipc::Result<std::span<const Event>> UringEngine::wait(Wait wait) {
  const int result = enter(wait);
  // EAGAIN, EBUSY: the kernel wants completions taken first. EINTR: a signal. ETIME: nothing came in time.
  if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY && result != -ETIME)
    return ipc::failure(-result, "io_uring_enter");
  unsigned head = 0;
  unsigned seen = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(&ring_, head, completion) {
    if (seen == events_.size()) break;
    events_[seen++] = {Token::decode(completion->user_data), completion->res,
                       (completion->flags & IORING_CQE_F_MORE) != 0};
  }
  io_uring_cq_advance(&ring_, seen);
  return std::span<const Event>(events_).first(seen);
}

}  // namespace serve
