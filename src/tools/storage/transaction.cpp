// transaction: several actions of which all or none happen, all of them at one moment of every disk.
//
//   hold every export above the nodes that are named ─▶ each action, in the order given ─▶ commit ─▶ exports go on
//                                                         └─ one fails ─▶ undo, last first
//
// An action is a command that can be undone. Outside of a transaction it runs in one of its own, which holds nothing.
#include <algorithm>

#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;

Task<void> Transaction::end(bool good) {
    if (good)
        for (auto& step : commit) co_await step();
    else
        for (auto step = undo.rbegin(); step != undo.rend(); ++step) co_await (*step)();
}

void Daemon::add_action(const std::string& name, std::vector<Argument> arguments, ActionRun run) {
    actions_[name] = run;
    commands.add(name, std::move(arguments), [this, run](json a) -> Task<Result<json>> {
        Transaction alone;
        auto r = co_await run(*this, std::move(a), alone);
        co_await alone.end(r.has_value());
        if (!r) co_return std::unexpected(r.error());
        co_return json::object();
    });
}

Task<void> Daemon::hold_all(const json& actions, Transaction& t, block::jobs::Stillness& still) {
    // Everything above, up to the exports: only they begin requests. In the order of the graph, as everybody holds.
    std::vector<const block::Node*> named;
    const auto note = [&](const NodePtr& n) {
        if (n && std::ranges::find(named, n.get()) == named.end()) named.push_back(n.get());
    };
    for (const json& action : actions)
        for (const char* key : {"node", "device", "node-name", "target", "overlay"})
            if (const json& data = action["data"]; data.contains(key) && data[key].is_string()) note(graph.find(data[key].get<std::string>()));
    for (size_t i = 0; i < named.size(); ++i)
        for (const NodePtr& above : graph.users_of(*named[i])) note(above);
    for (const auto& e : exports_)
        if (std::ranges::find(named, e.backend.get()) != named.end()) {
            still.push_back(co_await e.backend->drain());
            t.held.push_back(e.backend.get());
        }
}

Task<Result<json>> Daemon::transaction(json a) {
    const json properties = a.value("properties", json::object());
    for (const auto& [key, value] : properties.items())
        if (key != "completion-mode") co_return wrong("Parameter 'properties." + key + "' is unexpected");
    const std::string mode = text_of(properties, "completion-mode", "individual");
    if (mode != "individual" && mode != "grouped") co_return wrong("Parameter 'completion-mode' does not accept value '" + mode + "'");
    const json& actions = a["actions"];
    for (size_t i = 0; i < actions.size(); ++i) {
        const std::string at = "actions[" + std::to_string(i) + "]";
        const json& action = actions[i];
        if (!action.is_object()) co_return wrong("Invalid parameter type for '" + at + "', expected: object");
        const std::string type = text_of(action, "type");
        if (!action.contains("type")) co_return wrong("Parameter '" + at + ".type' is missing");
        if (type == "drive-backup") co_return fail(ErrorKind::kUnsupported, "drive-backup is not supported; use blockdev-backup");
        if (!actions_.contains(type)) co_return wrong("Parameter 'type' does not accept value '" + type + "'");
        if (!action.contains("data")) co_return wrong("Parameter '" + at + ".data' is missing");
        if (!action["data"].is_object()) co_return wrong("Invalid parameter type for '" + at + ".data', expected: object");
        for (const auto& [key, value] : action.items())
            if (key != "type" && key != "data") co_return wrong("Parameter '" + at + "." + key + "' is unexpected");
        if (type != "abort")
            if (auto r = commands.check(type, action["data"], at + ".data."); !r) co_return std::unexpected(r.error());
    }
    Transaction t;
    t.whole = true;
    if (mode == "grouped") t.group = std::make_shared<block::jobs::JobGroup>();
    block::jobs::Stillness still;
    co_await hold_all(actions, t, still);
    for (const json& action : actions) {
        const std::string type = action["type"];
        Result<void> r;
        if (t.group && type != "blockdev-backup" && type != "abort")
            r = wrong("Action '" + type + "' does not support Transaction property completion-mode = grouped");
        else r = co_await actions_.at(type)(*this, action["data"], t);
        if (r) continue;
        co_await t.end(false);
        co_return std::unexpected(r.error());
    }
    co_await t.end(true);
    co_return json::object();
}

void Daemon::add_transaction_commands() {
    commands.add("transaction", {{"actions", T::kArray, true, "[TransactionAction]"}, {"properties", T::kObject, false, "{?completion-mode:individual|grouped}"}}, [this](json a) { return transaction(std::move(a)); });
    actions_["abort"] = [](Daemon&, json, Transaction&) -> Task<Result<void>> { co_return wrong("Transaction aborted using Abort action"); };
}

}  // namespace myna::tools::storage
