// luks: a disk encrypted as cryptsetup does it: a LUKS1 header with key slots, then sectors, each encrypted by its number.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "block/formats/crypto/luks_header.h"
#include "block/graph/graph.h"

namespace myna::block {

extern const Driver kLuksDriver;

namespace crypto {

/// The secret that `options[key]` names.
Result<std::string> secret_of(const Graph& graph, const nlohmann::json& options, const std::string& key);
/// Tries `password` on all slots of a header whose byte 0 is at `base` of `file`. The error for none says so.
Task<Result<std::vector<uint8_t>>> unlock(Node& file, uint64_t base, const LuksHeader& h, std::string password);
/// cipher-alg, cipher-mode, ivgen-alg, ivgen-hash-alg, hash-alg, iter-time of `create`, with `prefix` before each.
struct LuksWanted {
    CipherSpec spec;
    unsigned ms = 2000;
};
Result<LuksWanted> luks_wanted(const CreateOptions& o, const std::string& prefix);
/// Bytes that a new header with its key slots takes in front of the payload.
uint64_t luks_header_bytes(const CipherSpec& spec);

}  // namespace crypto
}  // namespace myna::block
