#include "block/formats/luks/keyslots.h"

#include <sys/random.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"

namespace myna::block::crypto {

namespace {

std::unexpected<Error> bad(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

Result<std::string> secret(const Graph& graph, const std::string& id) {
    const std::string* s = graph.secret(id);
    if (s == nullptr) return fail(ErrorKind::kNotFound, "No secret with id '" + id + "'");
    return *s;
}

Task<Result<void>> store_header(Node& file, uint64_t base, const LuksHeader& h) {
    const auto raw = h.encode();
    if (auto r = co_await formats::write_bytes(file, base, raw.data(), raw.size()); !r) co_return r;
    co_return co_await file.flush();
}

/// Whether `password` opens slot `i`.
Task<Result<bool>> opens(Node& file, uint64_t base, const LuksHeader& h, size_t i, std::string password) {
    const LuksSlot& s = h.slots[i];
    if (!s.active) co_return false;
    auto material = co_await formats::read_bytes(file, base + uint64_t{s.sector} * 512, h.material_bytes(s));
    if (!material) co_return std::unexpected(material.error());
    bool good = false;
    const auto work = [&] { good = !h.try_slot(s, *material, {reinterpret_cast<const uint8_t*>(password.data()), password.size()}).empty(); };
    co_await file.reactor().offload(work);
    co_return good;
}

Task<Result<void>> add(const Graph& graph, Node& file, uint64_t base, LuksHeader& h, const KeyslotChange& c) {
    if (c.new_secret.empty()) co_return bad("'new-secret' is required to activate a keyslot");
    if (!c.old_secret.empty()) co_return bad("'old-secret' must not be given when activating keyslots");
    size_t slot = 0;
    if (c.keyslot) {
        slot = *c.keyslot;
        if (h.slots[slot].active && !c.force) co_return bad("Refusing to overwrite active keyslot " + std::to_string(slot) + " - please erase it first");
    } else {
        while (slot < kLuksSlots && h.slots[slot].active) ++slot;
        if (slot == kLuksSlots) co_return bad("Can't add a keyslot - all keyslots are in use");
    }
    auto old_password = secret(graph, c.unlock_secret), new_password = secret(graph, c.new_secret);
    if (!old_password) co_return std::unexpected(old_password.error());
    if (!new_password) co_return std::unexpected(new_password.error());
    auto key = co_await unlock(file, base, h, *old_password);
    if (!key) co_return std::unexpected(std::move(key.error()).in("Failed to retrieve the master key"));
    LuksSlot fresh = h.slots[slot];
    Result<std::vector<uint8_t>> material = std::vector<uint8_t>{};
    const auto work = [&] { material = h.fill_slot(fresh, *key, {reinterpret_cast<const uint8_t*>(new_password->data()), new_password->size()}, c.ms); };
    co_await file.reactor().offload(work);
    if (!material) co_return std::unexpected(material.error());
    if (h.slots[slot].active) {
        // Its old material is written over: nobody is to be told that the slot holds a key until the new one is there.
        h.slots[slot].active = false;
        if (auto r = co_await store_header(file, base, h); !r) co_return r;
    }
    if (auto r = co_await formats::write_bytes(file, base + uint64_t{fresh.sector} * 512, material->data(), material->size()); !r) co_return r;
    if (auto r = co_await file.flush(); !r) co_return r;
    h.slots[slot] = fresh;
    co_return co_await store_header(file, base, h);
}

Task<Result<void>> erase(Node& file, uint64_t base, LuksHeader& h, size_t slot) {
    LuksSlot& s = h.slots[slot];
    s.active = false;
    s.iterations = 0;
    s.salt.fill(0);
    if (auto r = co_await store_header(file, base, h); !r) co_return r;
    std::vector<uint8_t> noise(align_up(h.material_bytes(s), 512));
    for (unsigned round = 0; round < 4; ++round) {
        for (size_t at = 0; at < noise.size();) {
            const ssize_t n = getrandom(noise.data() + at, std::min<size_t>(noise.size() - at, 256), 0);
            if (n > 0) at += static_cast<size_t>(n);
        }
        if (auto r = co_await formats::write_bytes(file, base + uint64_t{s.sector} * 512, noise.data(), noise.size()); !r) co_return r;
        if (auto r = co_await file.flush(); !r) co_return r;
    }
    co_return Result<void>{};
}

Task<Result<void>> remove(const Graph& graph, Node& file, uint64_t base, LuksHeader& h, const KeyslotChange& c) {
    if (!c.new_secret.empty()) co_return bad("'new-secret' must not be given when erasing keyslots");
    if (c.has_ms) co_return bad("'iter-time' must not be given when erasing keyslots");
    const auto active = static_cast<size_t>(std::ranges::count_if(h.slots, [](const LuksSlot& s) { return s.active; }));
    std::string password;
    if (!c.old_secret.empty()) {
        auto p = secret(graph, c.old_secret);
        if (!p) co_return std::unexpected(p.error());
        password = *p;
    }
    if (c.keyslot) {
        const std::string number = std::to_string(*c.keyslot);
        if (!c.old_secret.empty()) {
            auto r = co_await opens(file, base, h, *c.keyslot, password);
            if (!r) co_return std::unexpected(r.error());
            if (!*r) co_return bad("Given keyslot " + number + " doesn't contain the given old password for erase operation");
        }
        if (!h.slots[*c.keyslot].active && !c.force) co_return bad("Given keyslot " + number + " is already erased (inactive) ");
        if (active == 1 && h.slots[*c.keyslot].active && !c.force)
            co_return bad("Attempt to erase the only active keyslot " + number + " which will erase all the data in the image irreversibly - refusing operation");
        co_return co_await erase(file, base, h, *c.keyslot);
    }
    if (c.old_secret.empty()) co_return bad("To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given");
    std::vector<size_t> found;
    for (size_t i = 0; i < kLuksSlots; ++i) {
        auto r = co_await opens(file, base, h, i, password);
        if (!r) co_return std::unexpected(r.error());
        if (*r) found.push_back(i);
    }
    if (found.empty()) co_return bad("No keyslots match given (old) password for erase operation");
    if (found.size() == active && !c.force)
        co_return bad("All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation");
    for (const size_t i : found)
        if (auto r = co_await erase(file, base, h, i); !r) co_return r;
    co_return Result<void>{};
}

}  // namespace

Result<KeyslotChange> KeyslotChange::take(nlohmann::json& options, const std::string& prefix) {
    KeyslotChange c;
    const auto get = [&](const std::string& key) {
        std::string out;
        if (const auto it = options.find(key); it != options.end()) {
            out = it->is_string() ? it->get<std::string>() : it->dump();
            options.erase(it);
        }
        return out;
    };
    c.unlock_secret = get("unlock-secret");
    c.force = get("force") == "true";
    c.state = get(prefix + "state");
    c.new_secret = get(prefix + "new-secret");
    c.old_secret = get(prefix + "old-secret");
    const std::string slot = get(prefix + "keyslot"), ms = get(prefix + "iter-time");
    if (const std::string format = get(prefix + "format"); !format.empty() && format != "luks") return bad("Amending the format of encryption is not supported");
    if (!slot.empty()) {
        char* end = nullptr;
        const long n = std::strtol(slot.c_str(), &end, 10);
        if (*end != 0 || n < 0 || n >= static_cast<long>(kLuksSlots)) return bad("Invalid keyslot " + slot + " specified, must be between 0 and " + std::to_string(kLuksSlots - 1));
        c.keyslot = static_cast<unsigned>(n);
    }
    if (!ms.empty()) {
        char* end = nullptr;
        const unsigned long n = std::strtoul(ms.c_str(), &end, 10);
        if (*end != 0 || n == 0 || n > 600000) return bad("Parameter 'iter-time' does not accept value '" + ms + "'");
        c.ms = static_cast<unsigned>(n);
        c.has_ms = true;
    }
    for (const auto& [key, value] : options.items())
        if (prefix.empty() || key.starts_with(prefix)) return bad("Invalid parameter '" + key + "'");
    if (c.state.empty()) return bad("Parameter '" + prefix + "state' is missing");
    if (c.state != "active" && c.state != "inactive") return bad("Parameter '" + prefix + "state' does not accept value '" + c.state + "'");
    return c;
}

Task<Result<void>> change_keyslots(const Graph& graph, Node& file, uint64_t base, LuksHeader& h, KeyslotChange c) {
    if (c.state == "active") co_return co_await add(graph, file, base, h, c);
    co_return co_await remove(graph, file, base, h, c);
}

}  // namespace myna::block::crypto
