// Driver: a row of the registry: how a kind of node is recognised, opened and created.
//
// Add a format: a folder under src/block/formats/ with these functions, and one line in graph/registry.cpp. Tools,
// option help, probing and the generic test suite follow.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "block/graph/node.h"

namespace myna::block {

class Graph;

/// An option of `create -o` or of a node, as `-o help` lists it.
struct OptionInfo {
    std::string_view name;
    enum class Type : uint8_t { kString, kBool, kSize, kNumber } type;
    std::string_view help;
    std::string_view default_value = {};
};

/// How a node is to be opened: the tree of driver options ("driver", "file", "backing", own keys) with typed values,
/// and the flags that hold for the whole tree.
struct OpenOptions {
    nlohmann::json options;      // object; "file" may be an object, or a string naming a node
    bool read_only = false;
    bool force_share = false;    // -U: take no locks, let others write
    bool no_backing = false;
    bool no_io = false;          // only metadata is wanted (info): keys are not needed
    bool check = false;          // for repair: open what is damaged as far as it can be
    bool unsafe_cache = false, direct = false;  // cache modes
    bool writethrough = false;   // so is this: of the node on top, which lets what is below be flushed
    /// The backing file this many steps below is opened for writing (commit); 0: all are read only.
    unsigned writable_backing = 0;
    unsigned chain_depth = 0;    // images above this one, to stop chains that bite their tail
    /// "file", where the graph has opened it already to look at its first bytes: a server may take one client only.
    NodePtr probed_file;
};

struct CreateOptions {
    std::string filename;
    uint64_t size = 0;
    nlohmann::json options;      // by OptionInfo::name, strings as given
    std::optional<std::string> backing_file, backing_format;
};

/// `measure`: bytes an image would take.
struct MeasureResult {
    uint64_t required = 0, fully_allocated = 0;
    std::optional<uint64_t> bitmaps;
};

struct Driver {
    std::string_view name;
    enum class Kind : uint8_t { kProtocol, kFormat, kFilter } kind;
    std::span<const OptionInfo> create_options;
    /// 0..100: how sure it is that `head` (the image's first bytes, up to 2 KiB) is of this format. Null: never probed.
    int (*probe)(std::span<const uint8_t> head, std::string_view filename);
    Task<Result<NodePtr>> (*open)(Graph& graph, const OpenOptions& options);
    Task<Result<void>> (*create)(Graph& graph, const CreateOptions& options);  // null: cannot be created
    /// Bytes for an image of `size`, or to hold what `source` has (may be null). Null: unsupported.
    Task<Result<MeasureResult>> (*measure)(Graph& graph, uint64_t size, Node* source, const CreateOptions& options);
    bool supports_backing;
    bool supports_compression;
};

}  // namespace myna::block
