#include "tests/interop/qemu.h"

#include "tests/interop/disk.h"

namespace interop {
namespace {

using system_test::guest;

std::vector<std::string> arguments_of(const QemuOptions& options) {
  std::vector<std::string> arguments{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"};
  const auto add = [&](const std::string& option, const std::string& value) {
    arguments.push_back(option);
    arguments.push_back(value);
  };
  add("-M", "q35,memory-backend=ram");
  add("-accel", options.kvm ? "kvm" : "tcg,thread=multi");
  add("-cpu", "max");
  add("-smp", std::to_string(kQueues));
  add("-m", "384M,slots=1,maxmem=1G");
  add("-object", "memory-backend-memfd,id=ram,size=384M,share=on");
  add("-chardev", "stdio,id=console,signal=off");
  add("-serial", "chardev:console");
  add("-kernel", guest("cloud/vmlinux"));
  add("-initrd", guest("cloud/initramfs"));
  add("-append",
      "console=ttyS0 root=/dev/vda ro panic=-1 init=/bin/sh quiet mitigations=off memhp_default_state=online");
  add("-drive", "file=" + guest("tools.ext4") + ",format=raw,readonly=on,if=none,id=root");
  add("-device", "virtio-blk-pci,drive=root");
  const std::string packed = options.packed ? ",packed=on" : "";
  if (!options.disk.empty()) {
    add("-chardev", "socket,id=disk,path=" + options.disk + ",reconnect=1");
    add("-device", "vhost-user-blk-pci,chardev=disk,num-queues=" + std::to_string(kQueues) + packed);
  }
  if (!options.card.empty()) {
    add("-chardev", "socket,id=card,path=" + options.card + ",reconnect=1");
    add("-netdev", "vhost-user,id=network,chardev=card,queues=" + std::to_string(kQueues));
    // QEMU 7.2 without KVM crashes where a driver masks and unmasks the vectors of a vhost-user card.
    const std::string vectors = options.kvm ? "" : ",vectors=0";
    add("-device", "virtio-net-pci,netdev=network,mq=on,mac=" + std::string(kMac) + vectors + packed);
  }
  if (!options.name.empty()) add("-qmp", "unix:" + monitor_socket(options.name) + ",server=on,wait=off");
  if (options.incoming) add("-incoming", "defer");
  return arguments;
}

}  // namespace

Qemu::Qemu(const QemuOptions& options) : GuestShell(arguments_of(options)) {}

std::string monitor_socket(const std::string& name) {
  return system_test::work_file(name + ".qmp");
}

}  // namespace interop
