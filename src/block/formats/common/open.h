// What the open, create and measure functions of all formats share.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "block/graph/graph.h"

namespace myna::block::formats {

/// The node of the "file" key: what a format lies on.
Task<Result<NodePtr>> open_below(Graph& graph, const OpenOptions& o);

/// `n` bytes at `offset`; what is behind the end of the file reads as zeroes.
Task<Result<std::vector<uint8_t>>> read_bytes(Node& file, uint64_t offset, size_t n);
/// Writes, growing the file where it has to.
Task<Result<void>> write_bytes(Node& file, uint64_t offset, const void* bytes, size_t n);

/// A new, empty host file, opened for writing.
Task<Result<NodePtr>> create_file(Graph& graph, const CreateOptions& o);

/// create's options by name, as texts.
class CreateArgs {
  public:
    explicit CreateArgs(const CreateOptions& o) : o_(o) {}
    [[nodiscard]] std::optional<std::string> text(const char* key) const;
    /// "64k", "2M": bytes; nullopt when it is not there.
    [[nodiscard]] Result<std::optional<uint64_t>> size(const char* key) const;
    [[nodiscard]] Result<bool> on(const char* key, bool otherwise = false) const;

  private:
    const CreateOptions& o_;
};

/// A number among a node's options, as JSON number or as text with a suffix ("64k"); nullopt where there is none.
Result<std::optional<uint64_t>> number_option(const nlohmann::json& options, const char* key);

/// 16 random bytes with the version and variant of a random UUID set (RFC 4122), in big-endian field order.
std::vector<uint8_t> random_uuid();

}  // namespace myna::block::formats
