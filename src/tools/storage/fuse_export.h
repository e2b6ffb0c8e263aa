// A disk as a file of the host, by FUSE: the mount point is a regular file, which is the disk while the export lives.
//
//   read(2), write(2), fallocate(2) … ─▶ kernel ─▶ /dev/fuse ─▶ Reactor ─▶ one coroutine a request ─▶ Node ─▶ reply
#pragma once

#include <memory>
#include <string>

#include "block/graph/node.h"

namespace myna::tools::storage {

struct FuseSettings {
    std::string mountpoint;
    bool writable = false, growable = false;
    enum class AllowOther : uint8_t { kOff, kOn, kAuto } allow_other = AllowOther::kAuto;
};

class FuseExport {
  public:
    /// Mounts it; an error says why that cannot be (no /dev/fuse, not a regular file …).
    static Result<std::unique_ptr<FuseExport>> mount(block::NodePtr node, const FuseSettings& s);
    /// The same over `device`, which is its own from then on: an opened /dev/fuse, or a socket of packets that talks as it does.
    static Result<std::unique_ptr<FuseExport>> attach(block::NodePtr node, const FuseSettings& s, int device);
    ~FuseExport();
    /// Unmounts, and waits for what is under way.
    io::Task<void> unmount();

  private:
    struct State;
    static bool open_session(State& s, const std::string& where, bool others);
    static std::unique_ptr<FuseExport> begin(std::shared_ptr<State> s);
    explicit FuseExport(std::shared_ptr<State> s) : state_(std::move(s)) {}
    std::shared_ptr<State> state_;
};

}  // namespace myna::tools::storage
