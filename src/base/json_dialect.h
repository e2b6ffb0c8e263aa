// The JSON that QEMU's tools and monitors read: strings may stand in single quotes as well.
//
//   {'driver': 'raw', "file": {'filename': 'it\'s.img'}}  ─▶  {"driver": "raw", "file": {"filename": "it's.img"}}
#pragma once

#include <string>
#include <string_view>

namespace myna {

/// `text` with its strings in double quotes. Text that is no JSON stays none.
/// Source: QEMU's QMP specification (docs/interop/qmp-spec), "single quotes are accepted as an extension".
inline std::string strict_json(std::string_view text) {
    std::string out;
    out.reserve(text.size() + 16);
    char quote = 0;  // of the string that is open
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote == 0) {
            if (c == '\'' || c == '"') quote = c;
            out += c == '\'' ? '"' : c;
        } else if (c == '\\' && i + 1 < text.size()) {
            const char escaped = text[++i];
            if (escaped != '\'') out += '\\';
            out += escaped;
        } else if (c == quote) {
            quote = 0;
            out += '"';
        } else {
            if (c == '"') out += '\\';
            out += c;
        }
    }
    return out;
}

}  // namespace myna
