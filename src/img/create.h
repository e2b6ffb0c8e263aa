// Making a new image with all checks of `create`; convert and dd use it too.
#pragma once

#include <nlohmann/json.hpp>

#include "img/tool.h"

namespace myna::img {

struct NewImage {
    std::string filename, format = "raw";
    std::optional<uint64_t> size;
    nlohmann::json options = nlohmann::json::object();  // by name, as given
    std::optional<std::string> backing, backing_format;
    bool trust_backing = false;  // do not open the backing file
    bool quiet = true;           // no "Formatting" line
};
Task<Result<void>> create_image(Tool& tool, NewImage wanted);

}  // namespace myna::img
