#include "block/proto/curl_library.h"

#include <dlfcn.h>

#include <optional>
#include <string>

namespace myna::block {

namespace {

constexpr const char* kName = "libcurl.so.4";

Result<CurlLibrary> open_library() {
    void* handle = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return fail(ErrorKind::kUnsupported, std::string("http, https, ftp and ftps need ") + kName + " (package libcurl4): " + dlerror());
    CurlLibrary l{};
    decltype(&curl_global_init) global_init = nullptr;
    const char* missing = nullptr;
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
        if (function == nullptr) missing = name;
    };
    find(global_init, "curl_global_init");
    find(l.easy_init, "curl_easy_init");
    find(l.easy_cleanup, "curl_easy_cleanup");
    find(l.easy_setopt, "curl_easy_setopt");
    find(l.easy_perform, "curl_easy_perform");
    find(l.easy_getinfo, "curl_easy_getinfo");
    find(l.easy_strerror, "curl_easy_strerror");
    if (missing != nullptr) return fail(ErrorKind::kUnsupported, std::string(kName) + " has no " + missing);
    if (global_init(CURL_GLOBAL_ALL) != CURLE_OK) return fail(ErrorKind::kUnsupported, std::string(kName) + " cannot be initialised");
    return l;
}

}  // namespace

Result<const CurlLibrary*> CurlLibrary::load() {
    static const Result<CurlLibrary> library = open_library();
    if (!library) return std::unexpected(library.error());
    return &*library;
}

}  // namespace myna::block
