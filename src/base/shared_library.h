// A library of the host, loaded when it is first needed: programs that open local files need not wait for it, nor have it
// installed.
#pragma once

#include <dlfcn.h>

#include <string>
#include <type_traits>

#include "base/result.h"

namespace myna {

class SharedLibrary {
  public:
    /// `name` as the loader knows it ("libcurl.so.4"). It stays loaded.
    explicit SharedLibrary(const char* name) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
        if (handle_ == nullptr) problem_ = dlerror();
    }
    template <typename F>
    void find(F*& function, const char* symbol) {
        function = handle_ == nullptr ? nullptr : reinterpret_cast<F*>(dlsym(handle_, symbol));
        if (function == nullptr && problem_.empty()) problem_ = std::string(name_) + " has no " + symbol;
    }
    /// An error when it could not be loaded or lacks something; `what` needs it ("ssh needs libssh (package libssh-4)").
    [[nodiscard]] Result<void> usable(const std::string& what) const {
        if (problem_.empty()) return {};
        return fail(ErrorKind::kUnsupported, what + ": " + problem_);
    }

  private:
    const char* name_;
    void* handle_;
    std::string problem_;
};

}  // namespace myna
