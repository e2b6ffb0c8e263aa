// Passwords of an encrypted image: key slots added and erased.
#pragma once

#include "block/formats/luks/luks.h"

namespace myna::block::crypto {

/// What `amend` asks for: state, new-secret, old-secret, keyslot, iter-time. `unlock_secret` names the secret that opens
/// the image; `force` allows what loses a password, or all of them.
struct KeyslotChange {
    std::string state, new_secret, old_secret, unlock_secret;
    std::optional<unsigned> keyslot;
    unsigned ms = 2000;
    bool has_ms = false, force = false;

    /// The options that begin with `prefix` ("encrypt."), which are taken out of `options`; an error names what is wrong.
    static Result<KeyslotChange> take(nlohmann::json& options, const std::string& prefix);
};

/// Changes the slots of `h`, whose byte 0 is at `base` of `file`. A cut leaves the image with the passwords it had, or
/// those that it gets: new key material comes before the header that names it, old material goes after it.
Task<Result<void>> change_keyslots(const Graph& graph, Node& file, uint64_t base, LuksHeader& h, KeyslotChange change);

}  // namespace myna::block::crypto
