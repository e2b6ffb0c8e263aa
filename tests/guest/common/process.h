// Runs another program with given input, collecting its output: how tests ask outside assemblers and emulators.
#pragma once

#include <string>
#include <vector>

namespace myna::test {

struct ProcessResult {
    int status = -1;  // exit code; 128 + signal; -1: the program could not be started
    std::string out;
    std::string err;
};

/// `argv[0]` is looked up in PATH.
ProcessResult run_process(const std::vector<std::string>& argv, const std::string& input = {});
/// True when PATH has `name`.
bool have_program(const std::string& name);

/// A file that lives as long as the object.
class TempFile {
  public:
    explicit TempFile(const std::string& contents, bool executable = false);
    ~TempFile();
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

  private:
    std::string path_;
};

}  // namespace myna::test
