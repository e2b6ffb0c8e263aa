// Graph: opens trees of nodes from what a person or program writes, and holds what they share.
//
//   "disk.qcow2" | "json:{…}" | "driver=qcow2,file.filename=…" | "nbd://…"  ─▶ options tree ─▶ probe ─▶ Driver::open
//
// Formats are probed when none is named; a raw image that is opened for writing by probing is guarded against writes
// that would make it look like another format.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/graph/driver.h"
#include "block/graph/node.h"
#include "io/reactor.h"

namespace myna::net {
class TlsCredentials;
}

namespace myna::block {

/// All drivers, in the order in which tools list them.
std::span<const Driver* const> all_drivers() noexcept;
const Driver* find_driver(std::string_view name) noexcept;

class Graph {
  public:
    explicit Graph(io::Reactor& r) : reactor_(r) {}

    [[nodiscard]] io::Reactor& reactor() const noexcept { return reactor_; }

    /// Opens by file name, URL or json: text; `format` empty: probe.
    Task<Result<NodePtr>> open(std::string name, std::string format, OpenOptions options);
    /// Opens by an options tree ("driver" names the driver; without it the file is probed).
    Task<Result<NodePtr>> open_tree(OpenOptions options);
    /// Opens the protocol layer alone (`file`, `nbd` …) by name.
    Task<Result<NodePtr>> open_protocol(std::string name, OpenOptions options);
    /// Creates what an image lies on: the file, or what else `o.filename` names (ssh://…).
    Task<Result<void>> create_protocol(CreateOptions o);
    /// Creates an image of `format`.
    Task<Result<void>> create(std::string_view format, CreateOptions options);
    /// Opens the backing file that `image` names, as `above` (the options the image was opened with) wants it: its
    /// "backing" key where there is one, else by name and format (empty: probe).
    Task<Result<NodePtr>> open_backing(std::string image, std::string name, std::string format, OpenOptions above);
    /// The name of a backing file as seen from the image that names it (relative names are relative to the image).
    static std::string resolve_backing(std::string_view image, std::string_view backing);
    /// "driver=…,file.filename=…" as an options tree.
    static Result<nlohmann::json> parse_image_opts(std::string_view text);

    /// --object secret,id=…; the text is wiped when it goes.
    void add_secret(std::string id, std::string data) { secrets_.insert_or_assign(std::move(id), Secret(std::move(data))); }
    void remove_secret(std::string_view id);
    [[nodiscard]] const std::string* secret(std::string_view id) const;
    /// --object tls-creds-…,id=…
    void add_tls(std::string id, std::shared_ptr<net::TlsCredentials> c) { tls_.insert_or_assign(std::move(id), std::move(c)); }
    void remove_tls(const std::string& id) { tls_.erase(id); }
    /// Null: there are none of that id.
    [[nodiscard]] std::shared_ptr<net::TlsCredentials> tls(std::string_view id) const;

  private:
    struct Secret {
        explicit Secret(std::string t) : text(std::move(t)) {}
        Secret(Secret&& o) noexcept : text(std::move(o.text)) { o.wipe(); }
        Secret& operator=(Secret&& o) noexcept {
            wipe();
            text = std::move(o.text);
            o.wipe();
            return *this;
        }
        ~Secret() { wipe(); }
        void wipe() noexcept;
        std::string text;
    };
    io::Reactor& reactor_;
    std::map<std::string, Secret, std::less<>> secrets_;
    std::map<std::string, std::shared_ptr<net::TlsCredentials>, std::less<>> tls_;
};

}  // namespace myna::block
