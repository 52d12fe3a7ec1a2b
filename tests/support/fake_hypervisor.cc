#include "tests/support/fake_hypervisor.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace vcpu_host {
namespace {

std::uint64_t take_from(int event) {
  std::uint64_t count = 0;
  return ::read(event, &count, sizeof count) == sizeof count ? count : 0;
}

}  // namespace

ipc::UniqueFd make_event() {
  return ipc::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
std::uint64_t take(const ipc::UniqueFd& event) {
  return take_from(event.get());
}

ipc::Result<Gsi> FakeHypervisor::allocate_msi() {
  return Gsi{next_gsi_++};
}

ipc::Result<> FakeHypervisor::route_msi(Gsi gsi, const MsiMessage& message) {
  if (refuse_routes) return ipc::failure(EINVAL, "route");
  routes_[gsi.value] = message;
  return {};
}

ipc::Result<> FakeHypervisor::connect_interrupt(const ipc::UniqueFd& event, Gsi gsi) {
  if (!connections_.emplace(event.get(), gsi.value).second) return ipc::failure(EBUSY, "connect");
  return {};
}

ipc::Result<> FakeHypervisor::disconnect_interrupt(const ipc::UniqueFd& event, Gsi gsi) {
  const auto found = connections_.find(event.get());
  if (found == connections_.end() || found->second != gsi.value) return ipc::failure(ENOENT, "disconnect");
  connections_.erase(found);
  return {};
}

ipc::Result<> FakeHypervisor::connect_level_interrupt(const ipc::UniqueFd& event, const ipc::UniqueFd& /*resample*/,
                                                      Gsi gsi) {
  return connect_interrupt(event, gsi);
}

ipc::Result<> FakeHypervisor::attach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) {
  if (!doorbells_.emplace(address.value, kick.get()).second) return ipc::failure(EEXIST, "attach");
  return {};
}

ipc::Result<> FakeHypervisor::detach_doorbell(ipc::GuestAddress address, const ipc::UniqueFd& kick) {
  const auto found = doorbells_.find(address.value);
  if (found == doorbells_.end() || found->second != kick.get()) return ipc::failure(ENOENT, "detach");
  doorbells_.erase(found);
  return {};
}

std::vector<MsiMessage> FakeHypervisor::delivered() {
  std::vector<MsiMessage> messages;
  for (const auto& [event, gsi] : connections_)
    if (take_from(event) != 0) messages.push_back(routes_[gsi]);
  return messages;
}

bool FakeHypervisor::ring(std::uint64_t address) {
  const auto found = doorbells_.find(address);
  const std::uint64_t one = 1;
  return found != doorbells_.end() && ::write(found->second, &one, sizeof one) == sizeof one;
}

}  // namespace vcpu_host
