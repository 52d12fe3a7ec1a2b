// What tests of guests' networks have in common. The host's side is Debian's BusyBox: one static program.
#pragma once

#include <string>
#include <vector>

#include "tests/system/guest_shell.h"

namespace system_test {

Outcome host(const std::string& command, Seconds limit = Seconds(120));

// The guest's eth0 is up with these addresses, each with its prefix's length.
bool bring_up(GuestShell& guest, const std::vector<std::string>& addresses);
// It gets address and router by DHCP, as passt serves it. What `ip` tells of it then.
std::string lease(GuestShell& guest);

bool answers(GuestShell& guest, const std::string& address);
// Has the driver of eth0 taken this bit?
bool has_feature(GuestShell& guest, unsigned bit);

// Conversations by TCP, to their end. What `filter` makes on the host of what comes to its port 9 while the guest runs
// `command`, and in the guest of what comes to its port 7 while the host does.
std::string host_hears(GuestShell& guest, const std::string& command, const std::string& filter = "cat",
                       Seconds limit = kAnswer);
std::string guest_hears(GuestShell& guest, const std::string& command, const std::string& filter = "cat",
                        Seconds limit = kAnswer);

}  // namespace system_test
