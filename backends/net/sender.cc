#include "backends/net/sender.h"

#include <cstring>

namespace net {

Progress Sender::serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) {
  ask_at_.reset();
  for (; budget > 0; --budget) {
    if (!held_) {
      if (Link* const way = link(); way != nullptr && way->flush() == Sent::Full) return Progress::Blocked;
      if (take(now_ns) == Progress::Idle) return Progress::Idle;
      ++frames;
    }
    if (!held_) continue;
    if (const Progress progress = pass_on(now_ns); progress != Progress::More) return progress;
  }
  return Progress::More;
}

Progress Sender::take(std::uint64_t now_ns) {
  const auto head = ring_->queue().next(chain_);
  if (!head) ring_->fail();
  if (!head || !*head) return Progress::Idle;
  held_ = (*head)->index;
  admitted_ = false;
  const auto assembled = (*head)->chain ? assemble(now_ns) : std::unexpected(Drop::BadChain);
  if (!assembled) drop(assembled.error());
  return Progress::More;
}

std::expected<void, Drop> Sender::assemble(std::uint64_t now_ns) {
  if (chain_.readable_bytes() < kHeaderBytes + kEthernetBytes)
    return std::unexpected(chain_.readable_bytes() < kHeaderBytes ? Drop::BadChain : Drop::TooShort);
  const auto bytes = static_cast<std::size_t>(chain_.readable_bytes() - kHeaderBytes);
  if (bytes > kMaxFrame) return std::unexpected(Drop::TooLong);

  // 2.7.4.1: the driver may have cut header and frame anywhere. Header and head are copied, each byte once.
  std::array<std::byte, kHeaderBytes> header;
  const std::size_t head_bytes = std::min(bytes, kHeadBytes);
  std::size_t copied = 0;
  std::size_t parts = 1;
  for (const ipc::GuestBuffer& buffer : chain_.readable()) {
    std::size_t offset = 0;
    if (copied < kHeaderBytes) offset = buffer.copy_to(std::span(header).subspan(copied));
    copied += offset;
    if (copied >= kHeaderBytes && copied < kHeaderBytes + head_bytes && offset < buffer.size()) {
      const auto room = std::span(head_).first(head_bytes).subspan(copied - kHeaderBytes);
      const std::size_t more = buffer.part(offset, buffer.size() - offset)->copy_to(room);
      offset += more;
      copied += more;
    }
    if (offset == buffer.size()) continue;
    if (parts == parts_.size()) return std::unexpected(Drop::BadChain);
    parts_[parts++] = buffer.part(offset, buffer.size() - offset)->as_iovec();
  }
  parts_[0] = {head_.data(), head_bytes};

  Header given;
  std::memcpy(&given, header.data(), sizeof given);
  const Head head = std::span(head_).first(head_bytes);
  const Header checked = TRY(check_header(given, card_.sent, head, bytes));
  if (const auto why = card_.guard.sent(head, now_ns)) return std::unexpected(*why);
  frame_ = {.header = checked, .parts = std::span(parts_).first(parts), .bytes = bytes};
  return {};
}

Progress Sender::pass_on(std::uint64_t now_ns) {
  Link* const way = link();
  if (way == nullptr) {
    drop(Drop::LinkDown);
    return Progress::More;
  }
  admitted_ = admitted_ || admit(limits::Direction::Write, frame_.bytes, now_ns);
  if (!admitted_) return Progress::Throttled;
  switch (way->send(frame_)) {
    case Sent::Yes:
      passed(frame_.bytes);
      finish();
      break;
    case Sent::Full:
      return Progress::Blocked;
    case Sent::Gone:
      lose_link();
      drop(Drop::LinkDown);
      break;
    case Sent::Refused:
      drop(Drop::Refused);
      break;
  }
  return Progress::More;
}

void Sender::drop(Drop why) {
  recorder_.count(index_of(why));
  finish();
}

void Sender::finish() {
  ring_->queue().complete(*std::exchange(held_, std::nullopt), 0);
}

void Sender::let_go() {
  if (held_) drop(Drop::LinkDown);
}

void Sender::leave() {
  if (held_) ring_->queue().leave(*std::exchange(held_, std::nullopt));
}

}  // namespace net
