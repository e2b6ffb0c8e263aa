// myna-nbd: serves an image to NBD clients, lists other servers' exports, and drives the host's kernel client.
//
//   argv ─▶ Settings (options.cpp) ─▶ list (list.cpp) | disconnect (device.cpp) | serve (serve.cpp)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/reactor.h"
#include "net/address.h"
#include "tools/objects.h"

namespace myna::tools::nbd {

struct Settings {
    std::string called;
    net::Address address;
    ImageOptions image;
    std::string name, description, tls_creds, tls_authz, pid_file, connect, disconnect;
    std::vector<std::string> objects, bitmaps;
    uint64_t offset = 0;
    unsigned shared = 1;
    bool list = false, persistent = false, allocation_depth = false, fork = false, verbose = false;
    io::Aio aio = io::Aio::kAuto;

    /// Prints `called: message`; gives 1.
    int error(const std::string& message) const;
};

/// Reads the command line. An exit code when there is nothing to run.
std::optional<int> parse(int argc, char** argv, Settings& out);

int list(const Settings& s);
int disconnect(const Settings& s);
int serve(const Settings& s);

/// The socket at which the host's kernel is the client of /dev/nbdX, and the thread that sits in it (-c).
class KernelClient {
  public:
    /// Opens the device, or says why not.
    static Result<std::unique_ptr<KernelClient>> open(const std::string& device);
    ~KernelClient();
    /// Tells the kernel of the export and starts it; gives our end of the socket.
    Result<int> start(uint64_t size, uint16_t flags);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace myna::tools::nbd
