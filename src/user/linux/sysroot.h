// Sysroot: -L PREFIX. Absolute paths are tried under the prefix first; what is not there is the host's.
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

    /// The path to use on the host for the guest's absolute `path`: `buffer` (PATH_MAX bytes) filled with prefix + path
    /// when that exists, else `path` itself.
    const char* map(const char* path, char* buffer) const noexcept;

  private:
    std::string prefix_;
};

}  // namespace myna::user
