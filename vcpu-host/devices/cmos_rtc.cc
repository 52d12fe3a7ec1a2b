#include "vcpu-host/devices/cmos_rtc.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>

#include "vcpu-host/devices/event.h"
#include "vcpu-host/layout.h"

// Register and bit names as in Motorola's MC146818 data sheet.
namespace vcpu_host {
namespace {

constexpr unsigned kSeconds = 0x00;
constexpr unsigned kSecondsAlarm = 0x01;
constexpr unsigned kMinutes = 0x02;
constexpr unsigned kMinutesAlarm = 0x03;
constexpr unsigned kHours = 0x04;
constexpr unsigned kHoursAlarm = 0x05;
constexpr unsigned kWeekday = 0x06;
constexpr unsigned kDay = 0x07;
constexpr unsigned kMonth = 0x08;
constexpr unsigned kYear = 0x09;
constexpr unsigned kRegisterA = 0x0a;
constexpr unsigned kRegisterB = 0x0b;
constexpr unsigned kRegisterC = 0x0c;
constexpr unsigned kRegisterD = 0x0d;
constexpr unsigned kCentury = 0x32;  // as the FADT says

constexpr std::uint8_t kUpdateInProgress = 0x80;  // A
constexpr std::uint8_t kDivider = 0x70;
constexpr std::uint8_t kDividerReset = 0x60;
constexpr std::uint8_t kDivider32768 = 0x20;
constexpr std::uint8_t kRate = 0x0f;
constexpr std::uint8_t kSet = 0x80;  // B
constexpr std::uint8_t kBinary = 0x04;
constexpr std::uint8_t k24Hours = 0x02;
constexpr std::uint8_t kPeriodic = 0x40;  // enables in B, flags in C
constexpr std::uint8_t kAlarm = 0x20;
constexpr std::uint8_t kUpdate = 0x10;
constexpr std::uint8_t kInterrupt = 0x80;  // C
constexpr std::uint8_t kValid = 0x80;      // D: the battery is good
constexpr std::uint8_t kAfternoon = 0x80;  // hours in 12-hour mode
constexpr std::uint8_t kAnyTime = 0xc0;    // alarm registers: from this value on all match

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kUpdateCycle = 244'000 + 1'984'000;  // UIP precedes the update by 244 us, which takes 1984 us
constexpr std::int64_t kSecondsOfDay = 86'400;
// The times that a guest can set, in seconds: far enough inside 64 bits of nanoseconds that no difference of
// two leaves them.
constexpr std::int64_t kEarliest = -1'000'000'000;  // in 1938
constexpr std::int64_t kLatest = 7'200'000'000;     // in 2198

bool is_time(unsigned index) {
  return index == kSeconds || index == kMinutes || (index >= kHours && index <= kYear && index != kHoursAlarm) ||
         index == kCentury;
}

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

}  // namespace

std::int64_t CmosRtc::wall_clock() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<std::int64_t>(time.tv_sec) * kSecond + static_cast<std::int64_t>(time.tv_nsec);
}

ipc::Result<std::unique_ptr<CmosRtc>> CmosRtc::create(EventLoop& loop, const ipc::UniqueFd& irq,
                                                      std::uint64_t ram_bytes, Clock clock) {
  ipc::UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return ipc::system_failure("make the timer of the real-time clock");
  std::unique_ptr<CmosRtc> rtc(new CmosRtc(loop, irq, std::move(timer), std::move(clock)));
  rtc->bytes_[kRegisterA] = kDivider32768 | 6;  // 1024 Hz, as firmware leaves it
  rtc->bytes_[kRegisterB] = k24Hours;
  rtc->bytes_[kRegisterD] = kValid;
  rtc->store_memory_size(ram_bytes);
  rtc->last_second_ = floor_divide(rtc->now(), kSecond);
  TRY(loop.watch(rtc->timer_, [&device = *rtc] { device.timer_expired(); }));
  return rtc;
}

CmosRtc::~CmosRtc() {
  loop_.unwatch(timer_);
}

void CmosRtc::store_memory_size(std::uint64_t ram_bytes) {
  const auto put = [&](unsigned index, std::uint64_t value, unsigned bytes) {
    value = std::min(value, (std::uint64_t{1} << (8 * bytes)) - 1);
    for (unsigned i = 0; i < bytes; ++i) bytes_[index + i] = static_cast<std::uint8_t>(value >> (8 * i));
  };
  const std::uint64_t low = layout::low_ram(ram_bytes).bytes;
  const auto above = [&](std::uint64_t start) { return low > start ? low - start : 0; };
  put(0x15, 640, 2);                                      // base memory, KiB
  put(0x17, above(layout::kMib) >> 10, 2);                // above 1 MiB, KiB
  put(0x30, above(layout::kMib) >> 10, 2);                // the same as found
  put(0x34, above(16 * layout::kMib) >> 16, 2);           // above 16 MiB, 64 KiB
  put(0x5b, layout::high_ram(ram_bytes).bytes >> 16, 3);  // above 4 GiB, 64 KiB
}

void CmosRtc::read(std::uint64_t offset, std::span<std::byte> data) {
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<std::byte>(offset + i == 0 ? index_ : read_byte(index_));
}

void CmosRtc::write(std::uint64_t offset, std::span<const std::byte> data) {
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto value = std::to_integer<std::uint8_t>(data[i]);
    if (offset + i == 0)
      index_ = value & 0x7f;  // bit 7 masks NMI, of which there are none
    else
      write_byte(index_, value);
  }
}

std::uint8_t CmosRtc::read_byte(unsigned index) {
  if (is_time(index) && !held()) load_time(floor_divide(now(), kSecond));
  if (index == kRegisterA)
    return static_cast<std::uint8_t>(bytes_[kRegisterA] | (update_in_progress() ? kUpdateInProgress : 0));
  if (index != kRegisterC) return bytes_[index];
  catch_up();
  const std::uint8_t flags = bytes_[kRegisterC];
  bytes_[kRegisterC] = 0;  // reading clears all flags
  update_interrupt();
  return flags;
}

void CmosRtc::write_byte(unsigned index, std::uint8_t value) {
  if (index == kRegisterC || index == kRegisterD) return;  // read-only
  if (index == kRegisterA || index == kRegisterB) return change_control(index, value);
  if (!is_time(index) || held()) {
    catch_up();  // under the old alarm
    bytes_[index] = value;
    return update_interrupt();
  }
  catch_up();
  const std::int64_t before = floor_divide(now(), kSecond);
  load_time(before);
  bytes_[index] = value;
  offset_ += (stored_time() - before) * kSecond;
  last_second_ = floor_divide(now(), kSecond);
  last_period_ = period() == 0 ? 0 : floor_divide(now(), period());
  update_interrupt();
}

bool CmosRtc::held() const {
  return (bytes_[kRegisterB] & kSet) != 0 || (bytes_[kRegisterA] & kDividerReset) == kDividerReset;
}

bool CmosRtc::update_in_progress() const {
  if (held()) return false;
  const std::int64_t in_second = now() - floor_divide(now(), kSecond) * kSecond;
  return in_second >= kSecond - kUpdateCycle;
}

void CmosRtc::change_control(unsigned index, std::uint8_t value) {
  catch_up();
  const bool was_held = held();
  const bool divider_was_reset = (bytes_[kRegisterA] & kDividerReset) == kDividerReset;
  const std::int64_t time = now();
  if (!was_held) load_time(floor_divide(time, kSecond));
  bytes_[index] = index == kRegisterA ? value & (kDivider | kRate) : value;
  if (was_held && !held()) {
    // The first update follows half a second after the divider starts.
    const std::int64_t fraction = divider_was_reset ? kSecond / 2 : time - floor_divide(time, kSecond) * kSecond;
    offset_ += stored_time() * kSecond + fraction - time;
  }
  if (index == kRegisterB && (value & kSet) != 0) bytes_[kRegisterB] &= static_cast<std::uint8_t>(~kUpdate);
  last_second_ = floor_divide(now(), kSecond);
  last_period_ = period() == 0 ? 0 : floor_divide(now(), period());
  update_interrupt();
}

unsigned CmosRtc::decode(std::uint8_t value) const {
  return (bytes_[kRegisterB] & kBinary) != 0 ? value : (value >> 4) * 10u + (value & 0x0fu);
}

std::uint8_t CmosRtc::encode(unsigned value) const {
  if ((bytes_[kRegisterB] & kBinary) != 0) return static_cast<std::uint8_t>(value);
  return static_cast<std::uint8_t>(value / 10 << 4 | value % 10);
}

unsigned CmosRtc::decode_hour(std::uint8_t value) const {
  if ((bytes_[kRegisterB] & k24Hours) != 0) return decode(value);
  const unsigned hour = decode(value & static_cast<std::uint8_t>(~kAfternoon)) % 12;
  return (value & kAfternoon) != 0 ? hour + 12 : hour;
}

std::uint8_t CmosRtc::encode_hour(unsigned hour) const {
  if ((bytes_[kRegisterB] & k24Hours) != 0) return encode(hour);
  const unsigned clock_face = hour % 12 == 0 ? 12 : hour % 12;
  return static_cast<std::uint8_t>(encode(clock_face) | (hour >= 12 ? kAfternoon : 0));
}

void CmosRtc::load_time(std::int64_t seconds) {
  const std::int64_t day = floor_divide(seconds, kSecondsOfDay);
  const auto in_day = static_cast<unsigned>(seconds - day * kSecondsOfDay);
  const std::chrono::sys_days date{std::chrono::days(day)};
  const std::chrono::year_month_day calendar(date);
  const auto year = static_cast<unsigned>(std::clamp(static_cast<int>(calendar.year()), 0, 9999));
  bytes_[kSeconds] = encode(in_day % 60);
  bytes_[kMinutes] = encode(in_day / 60 % 60);
  bytes_[kHours] = encode_hour(in_day / 3600);
  bytes_[kWeekday] = encode(std::chrono::weekday(date).c_encoding() + 1);
  bytes_[kDay] = encode(static_cast<unsigned>(calendar.day()));
  bytes_[kMonth] = encode(static_cast<unsigned>(calendar.month()));
  bytes_[kYear] = encode(year % 100);
  bytes_[kCentury] = encode(year / 100);
}

// Any bytes are some time: what is beyond its range counts on into the next day, month or year. Times that
// cannot be set become the nearest that can.
std::int64_t CmosRtc::stored_time() const {
  const auto year = static_cast<int>(decode(bytes_[kCentury]) * 100 + decode(bytes_[kYear]));
  const auto month = static_cast<int>(decode(bytes_[kMonth]));
  const auto day = static_cast<int>(decode(bytes_[kDay]));
  const std::chrono::year_month first = std::chrono::year(year) / std::chrono::January;
  const std::chrono::sys_days date =
      std::chrono::sys_days((first + std::chrono::months(month - 1)) / std::chrono::day(1)) +
      std::chrono::days(day - 1);
  const std::int64_t seconds = std::int64_t{date.time_since_epoch().count()} * kSecondsOfDay +
                               decode_hour(bytes_[kHours]) * 3600 + decode(bytes_[kMinutes]) * 60 +
                               decode(bytes_[kSeconds]);
  return std::clamp(seconds, kEarliest, kLatest);
}

std::int64_t CmosRtc::period() const {
  const unsigned rate = bytes_[kRegisterA] & kRate;
  if (rate == 0 || (bytes_[kRegisterA] & kDivider) != kDivider32768) return 0;
  const unsigned shift = rate < 3 ? rate + 6 : rate - 1;  // rates 1 and 2 are those of 8 and 9 (table 5)
  return (kSecond << shift) / 32'768;
}

bool CmosRtc::alarm_matches(std::int64_t seconds) const {
  const std::int64_t in_day = seconds - floor_divide(seconds, kSecondsOfDay) * kSecondsOfDay;
  const auto matches = [](std::uint8_t alarm, std::int64_t wanted, unsigned decoded) {
    return alarm >= kAnyTime || wanted == decoded;
  };
  const std::uint8_t hour = bytes_[kHoursAlarm];
  return matches(bytes_[kSecondsAlarm], in_day % 60, decode(bytes_[kSecondsAlarm])) &&
         matches(bytes_[kMinutesAlarm], in_day / 60 % 60, decode(bytes_[kMinutesAlarm])) &&
         matches(hour, in_day / 3600, decode_hour(hour));
}

void CmosRtc::catch_up() {
  const std::int64_t time = now();
  const std::int64_t second = floor_divide(time, kSecond);
  std::uint8_t& flags = bytes_[kRegisterC];
  if (!held() && second > last_second_) {
    flags |= kUpdate;
    // A day has every alarm in it.
    for (std::int64_t i = std::max(last_second_ + 1, second - kSecondsOfDay); i <= second && (flags & kAlarm) == 0; ++i)
      if (alarm_matches(i)) flags |= kAlarm;
  }
  last_second_ = second;  // a clock that was set back has no updates to catch up with
  if (const std::int64_t length = period(); length != 0) {
    const std::int64_t number = floor_divide(time, length);
    if (number > last_period_) flags |= kPeriodic;
    last_period_ = number;
  }
}

void CmosRtc::update_interrupt() {
  std::uint8_t& flags = bytes_[kRegisterC];
  const bool raised = (flags & bytes_[kRegisterB] & (kPeriodic | kAlarm | kUpdate)) != 0;
  if (raised) flags |= kInterrupt;
  if (raised && !line_raised_) signal(irq_);
  line_raised_ = raised;
  arm_timer();
}

// Only for what would raise the line: while it is up, and nobody reads register C, there is nothing to wait for.
void CmosRtc::arm_timer() {
  const std::int64_t time = now();
  const std::uint8_t enables = bytes_[kRegisterB];
  std::int64_t wait = std::numeric_limits<std::int64_t>::max();
  const auto until_next = [&](std::int64_t length) { return length - (time - floor_divide(time, length) * length); };
  if (!line_raised_ && !held() && (enables & (kUpdate | kAlarm)) != 0) wait = until_next(kSecond);
  if (!line_raised_ && (enables & kPeriodic) != 0 && period() != 0) wait = std::min(wait, until_next(period()));

  itimerspec timer{};
  if (wait != std::numeric_limits<std::int64_t>::max()) {
    timer.it_value.tv_sec = static_cast<time_t>(wait / kSecond);
    timer.it_value.tv_nsec = static_cast<long>(wait % kSecond);
  }
  ::timerfd_settime(timer_.get(), 0, &timer, nullptr);
}

void CmosRtc::timer_expired() {
  drain(timer_);
  catch_up();
  update_interrupt();
}

}  // namespace vcpu_host
