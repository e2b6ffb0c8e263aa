// How a server is told to end.
#pragma once

#include "io/reactor.h"
#include "io/task.h"

namespace myna::tools {

/// From now on SIGTERM, SIGINT and SIGHUP come to the descriptor, and a client that goes away raises no SIGPIPE. For the
/// whole process: before threads are made.
int end_signals();
/// Waits until one of them comes.
io::Task<void> await_end(io::Reactor& reactor, int signals);

}  // namespace myna::tools
