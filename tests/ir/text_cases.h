// Cases that are text in and text out, kept in a file:
//
//   == what the case shows
//   text in
//   --
//   text out
//
// After an intended change MYNA_BLESS=1 writes the new output into the file.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace myna::testing {

struct Case {
    std::string name, in, out;
};

class CaseFile {
  public:
    /// `file` lies in the test's own folder (MYNA_TEST_DATA).
    explicit CaseFile(const std::string& file) : path_(MYNA_TEST_DATA "/" + file) {
        std::ifstream in(path_);
        EXPECT_TRUE(in) << path_;
        std::string* into = &head_;
        for (std::string line; std::getline(in, line);) {
            if (line.starts_with("== ")) {
                cases_.push_back({line.substr(3), "", ""});
                into = &cases_.back().in;
            } else if (line == "--" && !cases_.empty()) {
                into = &cases_.back().out;
            } else {
                *into += line + "\n";
            }
        }
        for (Case& c : cases_) {
            while (c.out.ends_with("\n\n")) c.out.pop_back();
        }
        EXPECT_FALSE(cases_.empty()) << path_;
    }

    [[nodiscard]] const std::vector<Case>& cases() const { return cases_; }

    /// What `transform(case)` gives must be the text out.
    template <typename Transform>
    void check(Transform transform) {
        const bool blessing = std::getenv("MYNA_BLESS") != nullptr;
        for (Case& c : cases_) {
            const std::string out = transform(c);
            if (blessing) c.out = out;
            EXPECT_EQ(out, c.out) << c.name << "\n" << c.in;
        }
        if (!blessing) return;
        std::string text = head_;
        for (const Case& c : cases_) text += "== " + c.name + "\n" + c.in + "--\n" + c.out + "\n";
        while (text.ends_with("\n\n")) text.pop_back();
        std::ofstream(path_) << text;
    }

  private:
    std::string path_, head_;
    std::vector<Case> cases_;
};

}  // namespace myna::testing
