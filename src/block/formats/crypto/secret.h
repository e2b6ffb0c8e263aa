// Secrets as --object and object-add give them: as they are, in base64, or encrypted with another secret.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace myna::block::crypto {

/// The bytes of a secret with these properties: `data` or `file` (one of them), `format` (raw: the default; base64), and where
/// it is encrypted `keyid`, a secret of 32 bytes that `key` finds, and `iv`, 16 bytes in base64: AES-256-CBC with PKCS#7 padding.
/// Source: QEMU's documentation of the object "secret" (qemu-img(1), --object).
Result<std::string> secret_bytes(const std::map<std::string, std::string>& properties, const std::function<const std::string*(std::string_view id)>& key);

}  // namespace myna::block::crypto
