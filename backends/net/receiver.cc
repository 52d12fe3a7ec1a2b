#include "backends/net/receiver.h"

#include <cstddef>

namespace net {
namespace {

constexpr std::uint64_t kPatience = 10'000'000;  // nanoseconds, for the rest of the buffers that a frame needs
constexpr std::size_t kNumBuffers = offsetof(Header, num_buffers);

}  // namespace

Progress Receiver::serve(unsigned budget, std::uint64_t now_ns, std::uint64_t& frames) {
  ask_at_.reset();
  for (; budget > 0; --budget) {
    if (!frame_) {
      if (!fetch()) return Progress::Idle;
      ++frames;
    }
    if (!frame_) continue;
    admitted_ = admitted_ || admit(limits::Direction::Read, frame_->frame.size(), now_ns);
    if (!admitted_) return Progress::Throttled;
    if (!deliver(now_ns)) return Progress::Blocked;
    if (ring_->failed()) return Progress::Idle;
  }
  return Progress::More;
}

// A driver may use fewer pairs than there are links: its rings share them out.
bool Receiver::fetch() {
  const std::size_t stride = card_.receiving;
  if (pair_ >= stride || pair_ >= card_.links.size()) return false;
  const std::size_t mine = (card_.links.size() - pair_ + stride - 1) / stride;
  for (std::size_t tried = 0; tried < mine; ++tried, ++next_link_) {
    Link& link = *card_.links[pair_ + (next_link_ % mine) * stride];
    const auto received = link.receive();
    if (!received) {
      lose_link();
      return false;
    }
    if (!*received) continue;
    frame_ = **received;
    admitted_ = false;
    if (const auto judged = judge(link); !judged) drop(judged.error());
    return true;
  }
  return false;
}

std::expected<void, Drop> Receiver::judge(Link& link) {
  if (!card_.link_up()) return std::unexpected(Drop::LinkDown);
  const std::span<std::byte> frame = frame_->frame;
  const Head head = frame.first(std::min(frame.size(), kHeadBytes));
  const Frame parsed = TRY(parse_frame(head));
  if (const auto why = card_.guard.received(parsed)) return std::unexpected(*why);
  if (!card_.control.filter().passes(parsed, card_.control.mac())) return std::unexpected(Drop::NotWanted);
  if (link.trusted()) return {};
  // A peer may leave to us what our driver has not agreed to: a checksum we can make, and long TCP frames cut.
  const Offloads& driver = card_.control.offloads();
  Offloads agreed = driver;
  agreed.checksum = agreed.tso4 = agreed.tso6 = agreed.ecn = true;
  Header checked = TRY(check_header(frame_->header, agreed, head, frame.size()));
  if (checked.gso_type != 0 && !check_header(frame_->header, driver, head, frame.size())) {
    if (!segments_.begin({.header = checked, .frame = frame})) return std::unexpected(Drop::NoOffload);
    frame_ = segments_.next();
    return {};
  }
  if (!driver.checksum && checked.flags != 0) {
    complete_checksum(checked, frame);
    checked = Header{};
  }
  frame_->header = checked;
  return {};
}

bool Receiver::deliver(std::uint64_t now_ns) {
  while (delivered_ < kHeaderBytes + frame_->frame.size()) {
    if (take_buffers()) continue;
    if (ring_->failed() || !frame_) return true;
    if (taken_.empty()) return false;
    // A driver that gets nothing back may give nothing more: it waits for us, as we for it.
    if (!patience_) patience_ = now_ns + kPatience;
    ask_at_ = patience_;
    if (now_ns < *patience_) return false;
    let_go();
    return true;
  }
  const std::array<std::byte, 2> buffers{static_cast<std::byte>(taken_.size()),
                                         static_cast<std::byte>(taken_.size() >> 8)};
  for (std::size_t i = 0; i < buffers.size(); ++i) num_buffers_[i].fill(buffers[i]);
  for (const Taken& taken : taken_) ring_->queue().complete(taken.head, taken.written);
  taken_.clear();
  passed(frame_->frame.size());
  forget_frame();
  return true;
}

// Fills one more chain of the driver's. False: there is none, or the frame was dropped.
bool Receiver::take_buffers() {
  const auto head = ring_->queue().next(chain_);
  if (!head) {
    ring_->fail();
    return false;
  }
  if (!*head) return false;
  const std::size_t whole = kHeaderBytes + frame_->frame.size();
  const bool usable = (*head)->chain && chain_.writable_bytes() > 0;
  // 5.1.6.3.1: without MRG_RXBUF one chain takes a whole frame.
  if (!usable || (!card_.mergeable && chain_.writable_bytes() < whole)) {
    ring_->queue().complete((*head)->index, 0);
    drop(usable ? Drop::NoRoom : Drop::BadChain);
    return false;
  }
  const std::size_t before = delivered_;
  write(chain_);
  taken_.push_back({(*head)->index, static_cast<std::uint32_t>(delivered_ - before)});
  return true;
}

// The frame's next bytes, as many as the chain holds. Header and frame are one sequence, which the driver may have
// cut anywhere (2.7.4.1).
void Receiver::write(const virtio::Chain& chain) {
  const auto header = std::as_bytes(std::span(&frame_->header, 1));
  const std::span<const std::byte> frame = frame_->frame;
  for (const ipc::GuestBuffer& buffer : chain.writable()) {
    std::size_t offset = 0;
    if (delivered_ < kHeaderBytes) {
      for (std::size_t i = 0; i < num_buffers_.size(); ++i) {
        const std::size_t at = kNumBuffers + i;
        if (at >= delivered_ && at - delivered_ < buffer.size()) num_buffers_[i] = *buffer.part(at - delivered_, 1);
      }
      offset = buffer.copy_from(header.subspan(delivered_));
      delivered_ += offset;
    }
    if (delivered_ < kHeaderBytes || offset == buffer.size()) continue;
    const auto rest = frame.subspan(delivered_ - kHeaderBytes);
    if (rest.empty()) return;
    delivered_ += buffer.part(offset, buffer.size() - offset)->copy_from(rest);
  }
}

// Segments of a frame are frames of their own from here on.
void Receiver::drop(Drop why) {
  recorder_.count(index_of(why));
  forget_frame();
}

void Receiver::forget_frame() {
  frame_ = segments_.next();
  admitted_ = false;
  patience_.reset();
  delivered_ = 0;
}

void Receiver::let_go() {
  if (taken_.empty()) return;
  for (const Taken& taken : taken_) ring_->queue().complete(taken.head, 0);
  taken_.clear();
  drop(Drop::NoRoom);
}

// The frame itself is begun anew.
void Receiver::leave() {
  for (const Taken& taken : taken_) ring_->queue().leave(taken.head);
  taken_.clear();
  patience_.reset();
  delivered_ = 0;
}

}  // namespace net
