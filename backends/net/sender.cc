#include "backends/net/sender.h"

#include <cstring>

#include "ipc/eventfd.h"

namespace net {
namespace {

constexpr std::uint64_t kAskAgain = 100'000'000;  // nanoseconds: limits that were lifted hold no longer than that

}  // namespace

Progress Sender::serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) {
  virtio::Queue& queue = ring_->queue();
  for (; budget > 0; --budget) {
    if (!held_) {
      const auto head = queue.next(chain_);
      if (!head) {
        ring_->fail();
        return Progress::Idle;
      }
      if (!*head) return Progress::Idle;
      ++frames;
      held_ = (*head)->index;
      admitted_ = false;
      const auto assembled = (*head)->chain ? assemble(now_ns) : std::unexpected(Drop::BadChain);
      if (!assembled) {
        drop(assembled.error());
        continue;
      }
    }
    if (const Progress progress = pass_on(now_ns); progress != Progress::More) return progress;
  }
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
  if (!card_.link_up()) {
    drop(Drop::LinkDown);
    return Progress::More;
  }
  if (!admitted_ && card_.limiter != nullptr && card_.limiter->active()) {
    if (const std::uint64_t wait = card_.limiter->admit(limits::Direction::Write, frame_.bytes, now_ns); wait != 0) {
      ask_at_ = now_ns + std::min(wait, kAskAgain);
      return Progress::Throttled;
    }
    admitted_ = true;
  }
  switch (card_.links[pair_ % card_.links.size()]->send(frame_)) {
    case Sent::Yes:
      recorder_.count(index_of(Counter::Packets));
      recorder_.count(index_of(Counter::Bytes), frame_.bytes);
      finish(*std::exchange(held_, std::nullopt));
      return Progress::More;
    case Sent::Full:
      return Progress::Blocked;
    case Sent::Gone:
      card_.link_lost.store(true, std::memory_order_relaxed);
      ipc::signal(card_.attention);
      drop(Drop::LinkDown);
      return Progress::More;
    case Sent::Refused:
      break;
  }
  drop(Drop::Refused);
  return Progress::More;
}

void Sender::drop(Drop why) {
  recorder_.count(index_of(why));
  finish(*std::exchange(held_, std::nullopt));
}

void Sender::finish(std::uint16_t head) {
  ring_->queue().complete(head, 0);
}

void Sender::let_go() {
  if (held_) drop(Drop::LinkDown);
}

void Sender::leave() {
  if (held_) ring_->queue().leave(*std::exchange(held_, std::nullopt));
}

void Sender::stop() {
  ring_ = nullptr;
}

}  // namespace net
