// What is at the other end of a network card's cable. It outlasts reboots: what is made once is made with the
// operator's rights, before the machine starts.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ipc/error.h"
#include "ipc/event_loop.h"
#include "ipc/schema/control.capnp.h"
#include "ipc/unique_fd.h"
#include "monitor/spawner.h"

namespace monitor {

class WayOut {
 public:
  // Of `machine`'s card of that number. Errors are one line that names the card and what is wrong. `loop` and `spawner`
  // are borrowed.
  static ipc::Result<std::unique_ptr<WayOut>> open(ipc::EventLoop& loop, Spawner& spawner, const Configuration& machine,
                                                   std::size_t card);
  WayOut() = default;
  WayOut(const WayOut&) = delete;
  WayOut& operator=(const WayOut&) = delete;
  virtual ~WayOut() = default;

  virtual ipc::schema::NetworkSetup::Kind kind() const = 0;
  virtual std::string describe() const = 0;  // for operators, by way of the back end: no path

  // For a back end that is about to start: its descriptors, one for each pair of queues, or one, or none yet. Others
  // are given to `link` from the event loop, until detach().
  using Link = std::function<void(ipc::UniqueFd)>;
  virtual ipc::Result<std::vector<ipc::UniqueFd>> attach(Link link) = 0;
  virtual void detach() = 0;

  // The back end says that nobody is at the other end any more.
  virtual void lost() {}
};

}  // namespace monitor
