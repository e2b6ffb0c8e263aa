#include "block/proto/curl_library.h"

#include "base/shared_library.h"

namespace myna::block {

namespace {

Result<CurlLibrary> open_library() {
    SharedLibrary shared("libcurl.so.4");
    CurlLibrary l{};
    decltype(&curl_global_init) global_init = nullptr;
    shared.find(global_init, "curl_global_init");
    shared.find(l.easy_init, "curl_easy_init");
    shared.find(l.easy_cleanup, "curl_easy_cleanup");
    shared.find(l.easy_setopt, "curl_easy_setopt");
    shared.find(l.easy_perform, "curl_easy_perform");
    shared.find(l.easy_getinfo, "curl_easy_getinfo");
    shared.find(l.easy_strerror, "curl_easy_strerror");
    if (auto r = shared.usable("http, https, ftp and ftps need libcurl (package libcurl4)"); !r) return std::unexpected(r.error());
    if (global_init(CURL_GLOBAL_ALL) != CURLE_OK) return fail(ErrorKind::kUnsupported, "libcurl cannot be initialised");
    return l;
}

}  // namespace

Result<const CurlLibrary*> CurlLibrary::load() {
    static const Result<CurlLibrary> library = open_library();
    if (!library) return std::unexpected(library.error());
    return &*library;
}

}  // namespace myna::block
