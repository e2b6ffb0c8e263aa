// Result<T>: a value, or an Error that a person can act on.
//
// Errors carry a kind (which maps to an errno, a QMP class and an exit code in one table) and a message that
// already names the thing that failed. Exceptions are for programming errors only.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

namespace myna {

enum class ErrorKind : uint8_t {
    kInvalidArgument,   // a wrong option or value
    kNotFound,          // file, device or name that does not exist
    kPermission,        // the host refuses
    kCorrupt,           // the input does not follow its format
    kUnsupported,       // valid, but not implemented here: the message names it
    kInUse,             // locked by somebody else
    kNoSpace,           // disk or address space is full
    kNoMemory,          //
    kIo,                // the host failed to read or write
    kInterrupted,       // cancelled
    kInternal,          // a bug of ours
};

struct Error {
    ErrorKind kind = ErrorKind::kInternal;
    std::string message;
    int sys_errno = 0;  // the host's errno where there is one, else 0

    /// The same error with `prefix: ` before its message.
    [[nodiscard]] Error in(std::string_view prefix) && {
        message = std::string(prefix) + ": " + message;
        return std::move(*this);
    }
};

/// The errno that stands for `kind` where an interface wants one (positive).
int errno_of(const Error& e) noexcept;
/// An error from the host's errno; the message is `what: strerror`.
Error error_from_errno(int err, std::string_view what);

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorKind kind, std::string message, int err = 0) {
    return std::unexpected<Error>(Error{kind, std::move(message), err});
}
inline std::unexpected<Error> fail_errno(int err, std::string_view what) {
    return std::unexpected<Error>(error_from_errno(err, what));
}

}  // namespace myna
