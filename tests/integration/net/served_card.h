// bulkhead-net as people start it, and a front end with one pair of queues. Header-only.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backends/virtio/features.h"
#include "ipc/unix_socket.h"
#include "tests/support/fake_driver.h"
#include "tests/support/folder.h"
#include "tests/support/network.h"
#include "tests/system/command.h"

namespace integration {

inline std::string net_program() {
  return std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-net";
}

struct ServedCard {
  // `more` says at least what the way out is. Returns when it has been started.
  void start(const std::vector<std::string>& more) {
    std::vector<std::string> all{net_program(), "--socket-path=" + folder.file("card"), "--mac=52:54:00:01:02:03"};
    all.insert(all.end(), more.begin(), more.end());
    card = std::make_unique<system_test::Command>(all);
  }
  // It serves, or has ended.
  void await_service() {
    while (card->errors().find("serving") == std::string::npos && !card->wait(system_test::Seconds(0.02))) {
    }
  }

  // A driver that accepts, of what is offered, `wanted`.
  bool connect(std::uint64_t wanted) {
    auto socket = ipc::connect_unix(folder.file("card"), SOCK_STREAM);
    if (!socket) return false;
    front_end = std::make_unique<support::FakeFrontEnd>(std::move(*socket));
    queues.clear();
    for (int i = 0; i < 2; ++i) queues.emplace_back(ram, 64);
    offered = front_end->get(ipc::vhost_user::Request::GetFeatures).value_or(0);
    bool ready = front_end->greet(ram, virtio::kVersion1 | (offered & wanted));
    for (std::uint32_t i = 0; i < 2; ++i) ready = ready && front_end->start(queues[i], i);
    return ready;
  }

  // The driver sends `frame`; its chain came back.
  bool transmit(const support::Bytes& frame, const net::Header& header = {}) {
    const std::uint64_t place = ram.allocate(sizeof header + frame.size());
    ram.object<net::Header>(place) = header;
    std::ranges::copy(frame, ram.at(place + sizeof header, frame.size()).begin());
    const std::vector<support::Descriptor> parts{{place, static_cast<std::uint32_t>(sizeof header + frame.size())}};
    queues[1].offer(queues[1].link(parts));
    queues[1].kick();
    return queues[1].wait_used().has_value();
  }

  support::Folder folder;
  std::unique_ptr<system_test::Command> card;
  support::GuestRam ram{4 << 20};
  std::unique_ptr<support::FakeFrontEnd> front_end;
  std::vector<support::FakeQueue> queues;
  std::uint64_t offered = 0;  // features
};

}  // namespace integration
