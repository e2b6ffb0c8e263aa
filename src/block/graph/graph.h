// Graph: opens trees of nodes from what a person or program writes, and holds what they share.
//
//   "disk.qcow2" | "json:{…}" | "driver=qcow2,file.filename=…" | "nbd://…"  ─▶ options tree ─▶ probe ─▶ Driver::open
//
// Formats are probed when none is named; a raw image that is opened for writing by probing is guarded against writes
// that would make it look like another format.
#pragma once

#include <functional>
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

class ThrottleGroup;

class Graph {
  public:
    explicit Graph(io::Reactor& r) : reactor_(r) {}

    [[nodiscard]] io::Reactor& reactor() const noexcept { return reactor_; }

    /// Opens by file name, URL or json: text; `format` empty: probe.
    Task<Result<NodePtr>> open(std::string name, std::string format, OpenOptions options);
    /// Opens by an options tree ("driver" names the driver; without it the file is probed).
    Task<Result<NodePtr>> open_tree(OpenOptions options);
    /// The open node of that node-name; null: none.
    [[nodiscard]] NodePtr find(std::string_view node_name);
    /// All open nodes that have names.
    [[nodiscard]] std::vector<NodePtr> named();
    /// Makes `n`, which no command names, known as a user of the nodes below it (a device's or export's end).
    void enlist(const NodePtr& n);
    /// The open nodes right above `n`.
    [[nodiscard]] std::vector<NodePtr> users_of(const Node& n);
    /// Every node gets a name ("#block7" where none is given), and a text in the place of a node is the name of one:
    /// for programs whose nodes are added, used and taken away one by one.
    void name_nodes() { names_nodes_ = true; }
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
    /// --object throttle-group,id=…: nodes that name it share its limits.
    void add_throttle_group(std::string id, std::shared_ptr<ThrottleGroup> g) { throttle_groups_.insert_or_assign(std::move(id), std::move(g)); }
    void remove_throttle_group(const std::string& id) { throttle_groups_.erase(id); }
    [[nodiscard]] std::shared_ptr<ThrottleGroup> throttle_group(std::string_view id) const;
    /// Null: there are none of that id.
    [[nodiscard]] std::shared_ptr<net::TlsCredentials> tls(std::string_view id) const;

    /// Told, in a line of text, when an image that is in use turns out to be damaged. Null: standard error is.
    std::function<void(const std::string& line)> on_corruption;
    void tell_corruption(const std::string& line) const;

  private:
    Task<Result<NodePtr>> open_named(const Driver* driver, OpenOptions options);
    Result<NodePtr> refer(const std::string& node_name, const OpenOptions& o);
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
    bool names_nodes_ = false;
    uint64_t next_name_ = 100;
    std::vector<std::weak_ptr<Node>> nodes_;
    std::map<std::string, Secret, std::less<>> secrets_;
    std::map<std::string, std::shared_ptr<net::TlsCredentials>, std::less<>> tls_;
    std::map<std::string, std::shared_ptr<ThrottleGroup>, std::less<>> throttle_groups_;
};

}  // namespace myna::block
