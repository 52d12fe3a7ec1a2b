// bulkhead-blk as a child of bulkhead-monitor.
#pragma once

namespace blk {

// Serves the disk and the front end that come over the control socket, descriptor 3. The exit status:
// 0 when the front end or the monitor went, 1 on failure, 2 if there is no control socket.
int serve_monitor();

}  // namespace blk
