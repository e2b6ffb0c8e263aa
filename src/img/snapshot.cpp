// snapshot: lists, takes, applies and deletes internal snapshots.
#include <sys/time.h>

#include <cstdio>
#include <cstring>

#include "img/info.h"

namespace myna::img {

namespace {

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'l', "list", "", "list the snapshots (default)"}, {'c', "create", "NAME", "take a snapshot"},
                               {'a', "apply", "NAME", "set the disk back to a snapshot"}, {'d', "delete", "NAME", "delete a snapshot"}, kOptShare, kOptQuiet, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    int actions = 0;
    char action = 'l';
    std::string name;
    for (const auto& [key, value] : a.in_order()) {
        if (key == "list") ++actions, action = 'l';
        else if (key == "create" || key == "apply" || key == "delete") ++actions, action = key[0], name = value;
    }
    if (actions > 1) co_return tool.usage("Cannot mix '-l', '-a', '-c', '-d'");
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = action != 'l', .force_share = a.has("force-share")});
    if (!node) co_return 1;
    const auto said = [&](const char* what, const Error& e) { return tool.error("Could not " + std::string(what) + " snapshot '" + name + "': " + e.message); };
    int code = 0;
    switch (action) {
        case 'l': {
            auto list = co_await node->snapshots();
            if (!list) co_return tool.error(list.error());
            if (!list->empty()) std::printf("Snapshot list:\n%s", snapshot_table(*list).c_str());
            break;
        }
        case 'c': {
            struct timeval now {};
            gettimeofday(&now, nullptr);
            block::SnapshotInfo s;
            s.name = name.substr(0, 255);
            s.date_sec = static_cast<uint64_t>(now.tv_sec);
            s.date_nsec = static_cast<uint32_t>(now.tv_usec * 1000);
            s.icount = 0;
            if (auto r = co_await node->snapshot_create(std::move(s)); !r) {
                const int err = errno_of(r.error());
                code = tool.error(text("Could not create snapshot '%s': %d (%s)", name.c_str(), -err, std::strerror(err)));
            }
            break;
        }
        case 'a':
            if (auto r = co_await node->snapshot_apply(name); !r)
                code = r.error().kind == ErrorKind::kNotFound ? said("apply", {ErrorKind::kNotFound, "Failed to load snapshot: No such file or directory", 0}) : said("apply", r.error());
            break;
        default:
            if (auto r = co_await node->snapshot_delete(name); !r) code = said("delete", r.error());
            break;
    }
    if (auto r = co_await node->close(); !r && code == 0) co_return tool.error(r.error());
    co_return code;
}

}  // namespace

const Command kSnapshot{"snapshot", "FILE", "Lists, takes, applies or deletes internal snapshots", kOptions, run};

}  // namespace myna::img
