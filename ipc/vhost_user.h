// The vhost-user protocol's messages as they are on the wire.
// Source: QEMU's docs/interop/vhost-user.rst, edition of QEMU 11; names as there without the prefix.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ipc::vhost_user {

// VHOST_USER_*: requests of the front end.
enum class Request : std::uint32_t {
  None = 0,
  GetFeatures = 1,
  SetFeatures = 2,
  SetOwner = 3,
  ResetOwner = 4,
  SetMemTable = 5,
  SetLogBase = 6,
  SetLogFd = 7,
  SetVringNum = 8,
  SetVringAddr = 9,
  SetVringBase = 10,
  GetVringBase = 11,
  SetVringKick = 12,
  SetVringCall = 13,
  SetVringErr = 14,
  GetProtocolFeatures = 15,
  SetProtocolFeatures = 16,
  GetQueueNum = 17,
  SetVringEnable = 18,
  SendRarp = 19,
  NetSetMtu = 20,
  SetBackendReqFd = 21,
  IotlbMsg = 22,
  SetVringEndian = 23,
  GetConfig = 24,
  SetConfig = 25,
  GetInflightFd = 31,
  SetInflightFd = 32,
  ResetDevice = 34,
  GetMaxMemSlots = 36,
  AddMemReg = 37,
  RemMemReg = 38,
  SetStatus = 39,
  GetStatus = 40,
  SetDeviceStateFd = 42,
  CheckDeviceState = 43,
};

// VHOST_USER_BACKEND_*: requests of the back end, over the channel of SET_BACKEND_REQ_FD.
enum class BackendRequest : std::uint32_t {
  ConfigChangeMsg = 2,
};

// Bit numbers of GET/SET_PROTOCOL_FEATURES.
enum class ProtocolFeature : unsigned {
  Mq = 0,
  LogShmfd = 1,
  Rarp = 2,
  ReplyAck = 3,
  Mtu = 4,
  BackendReq = 5,
  CrossEndian = 6,
  Config = 9,
  BackendSendFd = 10,
  HostNotifier = 11,
  InflightShmfd = 12,
  ResetDevice = 13,
  InbandNotifications = 14,
  ConfigureMemSlots = 15,
  Status = 16,
  DeviceState = 19,
  GetVringBaseInflight = 20,
};

constexpr std::uint64_t bit(ProtocolFeature feature) {
  return std::uint64_t{1} << static_cast<unsigned>(feature);
}

// Feature bit of GET_FEATURES that offers the protocol features; never shown to a driver.
inline constexpr std::uint64_t kProtocolFeaturesBit = std::uint64_t{1} << 30;

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kVersionMask = 3;
inline constexpr std::uint32_t kReplyFlag = 1u << 2;
inline constexpr std::uint32_t kNeedReplyFlag = 1u << 3;

struct Header {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;  // bytes of payload
};
static_assert(sizeof(Header) == 12);

struct VringState {
  std::uint32_t index;
  std::uint32_t num;
};

struct VringAddr {
  std::uint32_t index;
  std::uint32_t flags;       // bit 0: log writes to the used ring at `log`
  std::uint64_t descriptor;  // ring addresses are the front end's own virtual addresses
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};

struct MemoryRegion {
  std::uint64_t guest_address;
  std::uint64_t size;
  std::uint64_t user_address;
  std::uint64_t mmap_offset;
};

struct MemoryTableHeader {
  std::uint32_t regions;
  std::uint32_t padding;
};

struct SingleMemoryRegion {  // ADD_MEM_REG, REM_MEM_REG
  std::uint64_t padding;
  MemoryRegion region;
};

struct ConfigHeader {
  std::uint32_t offset;
  std::uint32_t size;   // bytes that follow this header
  std::uint32_t flags;  // 0: written by the driver; 1: restored after a migration
};

struct Log {  // SET_LOG_BASE
  std::uint64_t mmap_size;
  std::uint64_t mmap_offset;
};

struct DeviceState {  // SET_DEVICE_STATE_FD
  std::uint32_t direction;
  std::uint32_t phase;
};
inline constexpr std::uint32_t kSave = 0;     // direction: from the back end to the front end
inline constexpr std::uint32_t kLoad = 1;     // the other way
inline constexpr std::uint32_t kStopped = 0;  // phase

struct Inflight {
  std::uint64_t mmap_size;
  std::uint64_t mmap_offset;
  std::uint16_t queues;
  std::uint16_t queue_size;
  std::uint32_t padding;
};

inline constexpr std::uint32_t kVringLog = 1;  // VringAddr::flags: VHOST_VRING_F_LOG

// SET_VRING_KICK, _CALL, _ERR: a 64-bit payload of the ring's index and a flag.
inline constexpr std::uint64_t kVringIndexMask = 0xff;
inline constexpr std::uint64_t kVringNoFd = 1u << 8;  // also in the reply to SET_DEVICE_STATE_FD

inline constexpr std::size_t kMaxMemoryRegions = 32;  // of ADD_MEM_REG; SET_MEM_TABLE carries at most 8
inline constexpr std::size_t kMaxMemoryTableRegions = 8;
inline constexpr std::size_t kMaxConfigBytes = 256;
inline constexpr std::size_t kMaxPayloadBytes = 4096;  // more than any message defined needs
inline constexpr std::size_t kMaxMessageFds = 8;

}  // namespace ipc::vhost_user
