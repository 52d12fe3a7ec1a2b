// The kernel's virtio-net header, which has a member that C++ cannot name, and what is newer than Debian 12's.
#pragma once

#define class class_  // NOLINT(cppcoreguidelines-macro-usage): of struct virtio_net_ctrl_hdr
#include <linux/virtio_net.h>
#undef class

// virtio 1.3, 5.1.3 and 5.1.6.
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
