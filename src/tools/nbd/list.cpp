// -L: what another server exports.
#include <array>
#include <cstdio>

#include "nbd/client.h"
#include "tools/nbd/tool.h"

namespace myna::tools::nbd {

int list(const Settings& s) {
    auto reactor = io::Reactor::create(s.aio, 1);
    if (!reactor) return s.error(reactor.error().message);
    block::Graph graph(**reactor);
    Objects objects;
    for (const std::string& text : s.objects)
        if (auto r = objects.add(text, graph); !r) return s.error(r.error().message);
    myna::nbd::ConnectOptions o{.address = s.address};
    o.tls_hostname = s.image.name;
    o.extended = false;  // flags as clients without extended headers see them, which scripts compare
    if (!s.tls_creds.empty()) {
        auto tls = objects.tls(s.tls_creds, false);
        if (!tls) return s.error(tls.error().message);
        o.tls = *tls;
    }
    const auto found = (*reactor)->run(myna::nbd::Client::list(**reactor, o));
    if (!found) return s.error(found.error().message);
    constexpr std::array kNames{"", "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi", "resize", "cache", "fast-zero", "block-status-payload"};
    std::printf("exports available: %zu\n", found->size());
    for (const auto& e : *found) {
        std::printf(" export: '%s'\n", e.name.c_str());
        if (!e.description.empty()) std::printf("  description: %s\n", e.description.c_str());
        std::printf("  size:  %llu\n", static_cast<unsigned long long>(e.size));
        if (e.flags & myna::nbd::kHasFlags) {
            std::printf("  flags: 0x%x (", e.flags);
            for (size_t i = 1; i < kNames.size(); ++i)
                if (e.flags >> i & 1) std::printf(" %s", kNames[i]);
            std::printf(" )\n");
        }
        if (e.min_block != 0) std::printf("  min block: %u\n  opt block: %u\n  max block: %u\n", e.min_block, e.preferred_block, e.max_block);
        if (!e.contexts.empty()) {
            std::printf("  available meta contexts: %zu\n", e.contexts.size());
            for (const std::string& c : e.contexts) std::printf("   %s\n", c.c_str());
        }
    }
    return 0;
}

}  // namespace myna::tools::nbd
