#include "tools/storage/daemon.h"

#include <sys/socket.h>
#include <unistd.h>

namespace myna::tools::storage {

using T = Argument::Type;

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

std::string text_of(const json& a, const char* key, std::string otherwise) {
    const auto it = a.find(key);
    if (it == a.end() || it->is_null()) return otherwise;
    return it->is_string() ? it->get<std::string>() : it->is_boolean() ? (it->get<bool>() ? "on" : "off") : it->dump();
}

bool flag_of(const json& a, const char* key, bool otherwise) {
    const auto it = a.find(key);
    if (it == a.end()) return otherwise;
    return *it == true || *it == "on" || *it == "yes" || *it == "true";
}

void Daemon::add(std::string name, std::vector<Argument> arguments, Result<json> (Daemon::*run)(const json&)) {
    commands.add(std::move(name), std::move(arguments), [this, run](json a) -> Task<Result<json>> { co_return (this->*run)(a); });
}
void Daemon::add(std::string name, std::vector<Argument> arguments, Task<Result<json>> (Daemon::*run)(json), bool open) {
    commands.add(std::move(name), std::move(arguments), [this, run](json a) { return (this->*run)(std::move(a)); }, open);
}

Daemon::Daemon(io::Reactor& r) : reactor(r), graph(r) {
    graph.name_nodes();
    add_node_commands();
    add_snapshot_commands();
    add_export_commands();
    add_job_commands();
    add_bitmap_commands();
    add_transaction_commands();
    add_object_commands();
    add_qom_commands();
    commands.add("query-version", {}, [](json) -> Task<Result<json>> { co_return qmp::version(); });
    commands.add("query-commands", {}, [this](json) -> Task<Result<json>> {
        json out = json::array({{{"name", "qmp_capabilities"}}});
        for (const auto& n : commands.names()) out.push_back({{"name", n}});
        co_return out;
    });
    commands.add("query-qmp-schema", {}, [this](json) -> Task<Result<json>> { co_return commands.schema(); });
    commands.add("quit", {}, [this](json) -> Task<Result<json>> {
        quitting = true;
        if (on_quit) on_quit();
        co_return json::object();
    });
    describe_commands();
}

Daemon::~Daemon() = default;

void Daemon::add_object_commands() {
    commands.add("object-add", {{"qom-type", T::kString, true}, {"id", T::kString, true}}, [this](json a) -> Task<Result<json>> {
        std::string text = text_of(a, "qom-type");
        const std::function<void(const std::string&, const json&)> put = [&](const std::string& at, const json& j) {
            for (const auto& [key, value] : j.items()) {
                if (at.empty() && key == "qom-type") continue;
                if (value.is_object()) {
                    put(at + key + ".", value);
                    continue;
                }
                std::string v = text_of(j, key.c_str());
                for (size_t i = 0; (i = v.find(',', i)) != std::string::npos; i += 2) v.insert(i, ",");
                text += "," + at + key + "=" + v;
            }
        };
        put("", a);
        if (auto r = objects.add(text, graph); !r) co_return std::unexpected(r.error());
        co_return json::object();
    }, true);
    commands.add("object-del", {{"id", T::kString, true}}, [this](json a) -> Task<Result<json>> {
        if (auto r = objects.remove(a["id"], graph); !r) co_return std::unexpected(r.error());
        co_return json::object();
    });
}

Task<void> Daemon::shut_down() {
    while (!exports_.empty()) {
        const std::string id = exports_.front().id, name = exports_.front().nbd_name;
        if (exports_.front().type == "nbd" && server_) {
            server_->remove(name, true);
            while (server_->in_use(name)) co_await reactor.sleep(std::chrono::milliseconds(2));
        }
        co_await drop_export(id);
    }
    for (auto jobs = jobs_; const auto& [id, j] : jobs) {
        if (j->status() != block::jobs::Status::kConcluded) (void)j->cancel(true);
        (void)co_await j->wait();
        (void)j->dismiss();
    }
    if (server_) {
        json none;
        (void)co_await server_stop(std::move(none));
    }
    bitmaps_.clear();
    // From the top down: a node is closed when nothing above it is left.
    for (bool closed = true; closed && !owned_.empty();) {
        closed = false;
        for (auto at = owned_.begin(); at != owned_.end();) {
            const NodePtr n = at->second.node;
            if (n->users() > 1) {
                ++at;
                continue;
            }
            at = owned_.erase(at);
            (void)co_await n->close();
            closed = true;
        }
    }
    for (auto& [name, o] : owned_) (void)co_await o.node->flush();
}

}  // namespace myna::tools::storage
