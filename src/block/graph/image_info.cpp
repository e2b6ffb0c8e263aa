#include "block/graph/image_info.h"

#include "block/graph/graph.h"

namespace myna::block {

using nlohmann::json;

Task<Result<json>> image_info(Node& n) {
    json j;
    j["filename"] = n.filename();
    j["format"] = n.driver();
    j["virtual-size"] = n.size();
    if (const auto b = n.allocated_bytes()) j["actual-size"] = *b;
    if (const auto c = n.cluster_size()) j["cluster-size"] = *c;
    if (n.encrypted()) j["encrypted"] = true;
    if (n.compressed()) j["compressed"] = true;
    j["dirty-flag"] = n.dirty();
    if (const auto backing = n.backing_name()) {
        j["backing-filename"] = *backing;
        j["full-backing-filename"] = Graph::resolve_backing(n.filename(), *backing);
        if (const auto format = n.backing_format_name()) j["backing-filename-format"] = *format;
    }
    const auto s = co_await n.snapshots();
    if (!s) co_return std::unexpected(s.error());
    for (const auto& e : *s) {
        json row{{"id", e.id}, {"name", e.name}, {"vm-state-size", e.vm_state_bytes}, {"date-sec", e.date_sec}, {"date-nsec", e.date_nsec},
                 {"vm-clock-sec", e.vm_clock_ns / 1'000'000'000}, {"vm-clock-nsec", e.vm_clock_ns % 1'000'000'000}};
        if (e.icount) row["icount"] = *e.icount;
        j["snapshots"].push_back(std::move(row));
    }
    json specific = n.specific_info();
    if (specific.is_object()) {
        auto b = co_await n.bitmaps();
        if (!b) co_return std::unexpected(b.error());
        for (const auto& e : *b) specific["data"]["bitmaps"].push_back({{"name", e.name}, {"granularity", e.granularity}, {"flags", e.flags}});
        j["format-specific"] = std::move(specific);
    }
    co_return j;
}

}  // namespace myna::block
