// libcurl, loaded when the first URL is opened: it brings dozens of libraries, and programs that open local files need
// not wait for them, nor have them installed.
#pragma once

#include <curl/curl.h>

#include "base/result.h"

namespace myna::block {

struct CurlLibrary {
    decltype(&curl_easy_init) easy_init;
    decltype(&curl_easy_cleanup) easy_cleanup;
    decltype(&curl_easy_setopt) easy_setopt;
    decltype(&curl_easy_perform) easy_perform;
    decltype(&curl_easy_getinfo) easy_getinfo;
    decltype(&curl_easy_strerror) easy_strerror;

    /// The library, or why there is none. Any thread.
    static Result<const CurlLibrary*> load();
};

}  // namespace myna::block
