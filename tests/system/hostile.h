// A guest that does everything wrong that it can (tests/hostile/payload.cc), and the machine around it.
#pragma once

#include "tests/system/command.h"

namespace system_test {

// Lets it loose for so long: nobody else is harmed.
void torment(Seconds time);

}  // namespace system_test
