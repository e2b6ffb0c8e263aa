// --object TYPE,id=…,…: what options name by id: secrets, TLS credentials, authorisation.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "block/graph/graph.h"
#include "net/tls.h"

namespace myna::tools {

class Objects {
  public:
    /// Takes one --object value; secrets and TLS credentials go to `graph`, too. Errors name the type or property that is wrong.
    Result<void> add(std::string_view text, block::Graph& graph);
    /// What was made: its type, and the properties as they were given; not the text of a secret.
    struct Object {
        std::string type;
        std::map<std::string, std::string> properties;
    };
    [[nodiscard]] const std::map<std::string, Object>& all() const noexcept { return all_; }
    /// Takes it away again, from `graph`, too: a secret's text is wiped. Refused while a disk, an export or a server uses it.
    Result<void> remove(const std::string& id, block::Graph& graph);

    Result<std::shared_ptr<net::TlsCredentials>> tls(const std::string& id, bool server) const;
    /// Who may come in (authz-simple, authz-list, authz-list-file).
    using Authorise = std::function<Result<void>(const net::TlsPeer&)>;
    Result<Authorise> authorise(const std::string& id) const;

  private:
    std::map<std::string, Object> all_;  // by id
    std::map<std::string, std::shared_ptr<net::TlsCredentials>> tls_;
    std::map<std::string, std::string> identities_;
};

/// How an image is to be opened, as a tool's options say.
struct ImageOptions {
    std::string name, format, options /* a=b,c=d: of the driver, beside the name */, cache = "writeback", aio, discard, detect_zeroes, load_snapshot;
    bool image_opts = false, read_only = false, force_share = false, copy_on_read = false;
    bool snapshot = false;  // writes go to a temporary image in front of it
};

/// Whether `mode` is a cache mode; sets the flags of `o`.
bool set_cache_mode(block::OpenOptions& o, std::string_view mode);
/// Opens the image.
block::Task<Result<block::NodePtr>> open_image(block::Graph& graph, ImageOptions options);

}  // namespace myna::tools
