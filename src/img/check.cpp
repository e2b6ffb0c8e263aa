// check: whether an image's own bookkeeping is right, and repairs of it.
//
// Exit codes: 0 good, 1 the check failed, 2 damaged, 3 leaked clusters only, 63 the format has nothing to check.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "img/tool.h"

namespace myna::img {

using block::CheckFix;
using block::CheckResult;
using nlohmann::json;

namespace {

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'r', "repair", "leaks|all", "repair leaked clusters, or everything"}, kOptOutput, kOptSourceCache, kOptQuiet, kOptShare, kOptObject};

json as_json(const CheckResult& c, const std::string& name, std::string_view format) {
    json j{{"filename", name}, {"format", format}, {"check-errors", c.check_errors}};
    const auto some = [&](const char* key, uint64_t v) {
        if (v != 0) j[key] = v;
    };
    some("image-end-offset", c.image_end_offset);
    some("corruptions", c.corruptions);
    some("leaks", c.leaks);
    some("corruptions-fixed", c.corruptions_fixed);
    some("leaks-fixed", c.leaks_fixed);
    some("total-clusters", c.total_clusters);
    some("allocated-clusters", c.allocated_clusters);
    some("fragmented-clusters", c.fragmented_clusters);
    some("compressed-clusters", c.compressed_clusters);
    return j;
}

void print_human(const CheckResult& c) {
    const auto n = [](uint64_t v) { return static_cast<unsigned long long>(v); };
    if (c.corruptions == 0 && c.leaks == 0 && c.check_errors == 0) {
        std::printf("No errors were found on the image.\n");
    } else {
        if (c.corruptions != 0)
            std::printf("\n%llu errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n", n(c.corruptions));
        if (c.leaks != 0)
            std::printf("\n%llu leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n", n(c.leaks));
        if (c.check_errors != 0) std::printf("\n%llu internal errors have occurred during the check.\n", n(c.check_errors));
    }
    if (c.total_clusters != 0 && c.allocated_clusters != 0) {
        const auto percent = [](uint64_t part, uint64_t whole) { return static_cast<double>(part) * 100.0 / static_cast<double>(whole); };
        std::printf("%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n", n(c.allocated_clusters), n(c.total_clusters),
                    percent(c.allocated_clusters, c.total_clusters), percent(c.fragmented_clusters, c.allocated_clusters), percent(c.compressed_clusters, c.allocated_clusters));
    }
    if (c.image_end_offset != 0) std::printf("Image end offset: %llu\n", n(c.image_end_offset));
}

Task<int> run(Tool& tool, Args& a) {
    CheckFix fix = CheckFix::kNone;
    if (const auto r = a.find("repair")) {
        if (*r == "leaks") fix = CheckFix::kLeaks;
        else if (*r == "all") fix = CheckFix::kAll;
        else co_return tool.usage("Unknown option value for -r (expecting 'leaks' or 'all'): " + *r);
    }
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const auto json_output = wants_json(tool, a);
    if (!json_output) co_return 1;
    const std::string cache = a.get("source-cache", "writeback");
    if (OpenOptions o; !set_cache_mode(o, cache)) co_return tool.error("Invalid source cache option: " + cache);
    const bool quiet = a.has("quiet");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = fix != CheckFix::kNone,
                                                    .force_share = a.has("force-share"), .no_backing = true, .no_io = true, .check = true, .cache = cache});
    if (!node) co_return 1;
    const auto say = [&](const CheckResult& c) {
        for (const std::string& m : c.messages)
            if (!quiet) {
                std::fflush(stdout);
                std::fprintf(stderr, "%s\n", m.c_str());
            }
    };
    auto c = co_await node->check(fix);
    if (!c) {
        if (c.error().kind == ErrorKind::kUnsupported) {
            tool.error("This image format does not support checks");
            co_return 63;
        }
        tool.error("Check failed: " + c.error().message);
        co_return 1;
    }
    say(*c);
    if (c->corruptions_fixed != 0 || c->leaks_fixed != 0) {
        const auto leaks = c->leaks_fixed, errors = c->corruptions_fixed;
        if (!quiet && !*json_output)
            std::printf("The following inconsistencies were found and repaired:\n\n    %llu leaked clusters\n    %llu corruptions\n\nDouble checking the fixed image now...\n",
                        static_cast<unsigned long long>(leaks), static_cast<unsigned long long>(errors));
        c = co_await node->check(CheckFix::kNone);
        if (!c) co_return tool.error("Check failed: " + c.error().message);
        say(*c);
        c->leaks_fixed = leaks;
        c->corruptions_fixed = errors;
    }
    if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
    if (!quiet) {
        if (*json_output) std::printf("%s\n", json_text(as_json(*c, a.rest[0], node->driver())).c_str());
        else print_human(*c);
    }
    if (c->check_errors != 0) co_return 1;
    if (c->corruptions != 0) co_return 2;
    co_return c->leaks != 0 ? 3 : 0;
}

}  // namespace

const Command kCheck{"check", "FILE", "Checks an image, and repairs it with -r", kOptions, run};

}  // namespace myna::img
