// A guest without an operating system that does everything wrong that it can: reads and writes at random to every
// register, port, ring and doorbell. 32-bit protected mode without paging, as a PVH kernel is entered. Of its command
// line "seed=N" repeats a run. It tells how far it is on the serial port, "ops N", and never ends by itself: it leaves
// out what would switch the machine off. Where there is no device it says so, and waits.
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

namespace {

// vcpu-host/layout.h
constexpr u32 kEcam = 0xb0000000;
constexpr u32 kWindow = 0xc0000000;
constexpr u32 kDeviceWindow = 0x10000;  // of each device's BAR here
constexpr u16 kSerial = 0x3f8;

constexpr u32 kRings = 8 << 20;  // where rings and buffers are: up to 15 MiB, of 16
constexpr u32 kRingBytes = 7 << 20;

u32 devices;  // in slots from 1 on
u64 state;

u32 random() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<u32>(state >> 16);
}
u32 below(u32 limit) {
  return random() % limit;
}

void out8(u16 port, u8 value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
void out16(u16 port, u16 value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
void out32(u16 port, u32 value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
u8 in8(u16 port) {
  u8 value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
u32 in32(u16 port) {
  u32 value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

template <class T>
volatile T& at(u32 address) {
  return *reinterpret_cast<volatile T*>(address);
}
void write(u32 address, u32 size, u32 value) {
  if (size == 1)
    at<u8>(address) = static_cast<u8>(value);
  else if (size == 2)
    at<u16>(address) = static_cast<u16>(value);
  else
    at<u32>(address) = value;
}
u32 read(u32 address, u32 size) {
  if (size == 1) return at<u8>(address);
  if (size == 2) return at<u16>(address);
  return at<u32>(address);
}

void put(char c) {
  for (u32 tries = 0; tries < 100000 && (in8(kSerial + 5) & 0x20) == 0; ++tries) {
  }
  out8(kSerial, static_cast<u8>(c));
}
void put(const char* text) {
  for (; *text != 0; ++text) put(*text);
}
void put(u32 number) {
  char digits[10];
  u32 count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) put(digits[--count]);
}
void mend_serial() {
  out8(kSerial + 3, 0x03);  // 8 bits, and the data register in its place
  out8(kSerial + 1, 0x00);  // no interrupts
  out8(kSerial + 4, 0x03);  // no loopback
}

u32 value() {
  switch (below(4)) {
    case 0:
      return random();
    case 1:
      return below(256);
    case 2:
      return kRings + below(kRingBytes);
    default:
      return 1u << below(32);
  }
}

u32 bar_of(u32 device) {
  return kWindow + device * kDeviceWindow;
}
u32 config_of(u32 device) {
  return kEcam + (device << 15);
}

// Where the device was to be, whatever was written meanwhile.
void mend_device(u32 device) {
  const u32 config = config_of(device);
  at<u16>(config + 4) = 0;
  at<u32>(config + 0x10) = bar_of(device);
  at<u32>(config + 0x14) = 0;
  at<u16>(config + 4) = 6;  // memory, bus master
}

// Offsets in the common configuration structure: virtio 1.2, 4.1.4.3.
void start_device(u32 device) {
  const u32 bar = bar_of(device);
  mend_device(device);
  at<u8>(bar + 20) = 0;
  for (u32 tries = 0; tries < 100 && at<u8>(bar + 20) != 0; ++tries) {
  }
  at<u8>(bar + 20) = 3;
  for (u32 half = 0; half < 2; ++half) {
    at<u32>(bar) = half;
    at<u32>(bar + 8) = half;
    // All that is offered, or some of it; VERSION_1 always, packed rings now and then.
    u32 features = at<u32>(bar + 4);
    if (below(2) == 0) features &= random();
    if (half == 1) features = (features | 1) & (below(2) == 0 ? ~4u : ~0u);
    at<u32>(bar + 12) = features;
  }
  at<u8>(bar + 20) = 11;
  const u32 queues = at<u16>(bar + 18);
  for (u32 queue = 0; queue < queues && queue < 8; ++queue) {
    at<u16>(bar + 22) = static_cast<u16>(queue);
    at<u16>(bar + 24) = static_cast<u16>(1u << below(9));
    for (u32 area = 32; area <= 48; area += 8) {
      at<u32>(bar + area) = kRings + (below(kRingBytes - 0x4000) & ~15u);
      at<u32>(bar + area + 4) = 0;
    }
    at<u16>(bar + 28) = 1;
  }
  at<u8>(bar + 20) = 15;
}

// What descriptors, available rings and requests may look like.
void scribble() {
  u32 address = kRings + (below(kRingBytes - 0x1000) & ~15u);
  for (u32 i = below(64); i > 0; --i, address += 16) {
    at<u32>(address) = below(4) == 0 ? random() : kRings + below(kRingBytes);
    at<u32>(address + 4) = below(16) == 0 ? random() : 0;
    at<u32>(address + 8) = below(8) == 0 ? random() : below(8192);
    at<u32>(address + 12) = below(8) == 0 ? random() : below(8) | below(256) << 16;
  }
}

void touch_registers() {
  constexpr u32 kPages[] = {0, 0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000};
  const u32 address = bar_of(1 + below(devices)) + kPages[below(8)] + below(below(8) == 0 ? 4096 : 64);
  const u32 size = 1u << below(3);
  if (below(3) == 0)
    read(address, size);
  else
    write(address, size, value());
}

void touch_configuration() {
  const u32 address = below(4) == 0 ? kEcam + below(1 << 20) : config_of(1 + below(devices)) + below(256);
  const u32 size = 1u << below(3);
  if (below(2) == 0)
    read(address, size);
  else
    write(address, size, value());
}

void touch_ports() {
  switch (below(6)) {
    case 0:
      out32(0xcf8, below(2) == 0 ? 0x80000000 | below(1 << 16) : random());
      if (below(2) == 0)
        (void)in32(0xcfc);
      else
        out32(0xcfc, value());
      return;
    case 1:
      out8(0x70, static_cast<u8>(random()));
      if (below(2) == 0)
        (void)in8(0x71);
      else
        out8(0x71, static_cast<u8>(random()));
      return;
    case 2:
      out8(static_cast<u16>(kSerial + 1 + below(7)), static_cast<u8>(random()));
      (void)in8(static_cast<u16>(kSerial + below(8)));
      return;
    case 3:  // ACPI but for its control register, which switches off
      out16(static_cast<u16>(0x600 + 2 * below(2)), static_cast<u16>(random()));
      (void)in32(0x608);
      return;
    case 4:
      (void)in8(static_cast<u16>(random()));
      return;
    default:  // nobody's
      out8(static_cast<u16>(0x1000 + below(0x8000)), static_cast<u8>(random()));
  }
}

u32 seed_of(const char* words) {
  for (; *words != 0; ++words) {
    if (words[0] != 's' || words[1] != 'e' || words[2] != 'e' || words[3] != 'd' || words[4] != '=') continue;
    u32 seed = 0;
    for (words += 5; *words >= '0' && *words <= '9'; ++words) seed = 10 * seed + static_cast<u32>(*words - '0');
    return seed;
  }
  return 1;
}

}  // namespace

// `info`: struct hvm_start_info (Xen's arch-x86/hvm/start_info.h), whose command line is at offset 24.
extern "C" [[noreturn]] void payload(u32 info) {
  mend_serial();
  state = 0x9e3779b97f4a7c15 * (seed_of(reinterpret_cast<const char*>(at<u32>(info + 24))) + 1ull);
  put("hostile guest\n");
  while (at<u16>(config_of(devices + 1)) != 0xffff) ++devices;
  if (devices == 0) put("no device to attack\n");
  while (devices == 0) asm volatile("hlt");
  for (u32 device = 1; device <= devices; ++device) start_device(device);
  for (u32 ops = 0;; ++ops) {
    if (ops % 512 == 0) {
      mend_serial();
      put("ops ");
      put(ops);
      put("\n");
    }
    switch (below(24)) {
      case 0:
        start_device(1 + below(devices));
        break;
      case 1:
        mend_device(1 + below(devices));
        break;
      case 2:
        touch_configuration();
        break;
      case 3:
        touch_ports();
        break;
      case 4:
      case 5:
      case 6:
        scribble();
        break;
      case 7:
      case 8:
      case 9:
        at<u16>(bar_of(1 + below(devices)) + 0x3000 + 4 * below(8)) = static_cast<u16>(random());
        break;
      default:
        touch_registers();
    }
  }
}

// The PVH entry (XEN_ELFNOTE_PHYS32_ENTRY, 18) with EBX at the start info.
asm(R"(
  .section .note.Xen, "a", @note
  .balign 4
  .long 4, 4, 18
  .asciz "Xen"
  .long entry
  .text
  .globl entry
entry:
  cli
  cld
  movl $0x80000, %esp
  pushl %ebx
  pushl $0
  jmp payload
)");
