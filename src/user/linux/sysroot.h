// Sysroot: -L PREFIX. Absolute paths are looked up under the prefix first; what is not there is the host's.
//
//   /lib/ld.so ─▶ openat2(PREFIX, RESOLVE_IN_ROOT): links inside the prefix, absolute ones too, stay inside
//            └─▶ not there, or under /proc /sys /dev /tmp: as it is
#pragma once

#include <string>
#include <string_view>

namespace myna::user {

class Sysroot {
  public:
    /// "" for none.
    void set(std::string prefix);
    [[nodiscard]] bool active() const noexcept { return !prefix_.empty(); }
    [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }

    /// The path to use on the host for the guest's `path`: `buffer` (PATH_MAX bytes), filled with where the file is under
    /// the prefix, or `path` itself. `follow`: a link at the end is followed.
    const char* map(const char* path, char* buffer, bool follow = true) const noexcept;

  private:
    int resolve(const char* path, bool follow) const noexcept;
    std::string prefix_;
    mutable int fd_ = -1;  // of the prefix, above the numbers that guests use; opened again when a guest closed it
};

}  // namespace myna::user
