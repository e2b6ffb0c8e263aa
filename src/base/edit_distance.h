// How far a mistyped word is from a known one: what "did you mean" goes by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace myna {

/// Levenshtein's distance: letters put in, left out or exchanged.
inline size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

/// The candidate that `typed` is most likely meant to be, or nothing: a third of its letters may be wrong, one at least.
inline std::string_view nearest_word(std::string_view typed, std::span<const std::string_view> candidates) {
    std::string_view best;
    size_t least = std::max<size_t>(1, typed.size() / 3) + 1;
    for (const std::string_view c : candidates)
        if (const size_t d = edit_distance(typed, c); d < least && !c.empty()) {
            least = d;
            best = c;
        }
    return best;
}

}  // namespace myna
