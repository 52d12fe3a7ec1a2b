#include "sandbox/policy/tables.h"

namespace sandbox {
namespace {

constexpr Rule kKeeperTable[] = {
    {SYS_write, "say that it is ready"},
    {SYS_read, "wait for the word, or for the end of who gives it"},
    {SYS_newfstatat, "is the path still the same socket?", {on(Slot::Directory)}},
    {SYS_unlinkat, "remove it", {on(Slot::Directory)}},
    {SYS_restart_syscall, "go on with a wait that a stop signal interrupted"},
    {SYS_exit_group, "end"},
};

}  // namespace

constinit const Policy kKeeperPolicy = kKeeperTable;

}  // namespace sandbox
