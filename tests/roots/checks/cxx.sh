#!/bin/bash
# g++ of a large source at -O2, with exceptions, threads and regular expressions; gcc -O0 to -O3 agree
set -e
cd $(mktemp -d)
cat > big.cpp <<'C'
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <iostream>
#include <map>
#include <random>
#include <regex>
#include <sstream>
#include <unordered_map>
#include <variant>
template <int N> struct Chain { static int f(int x) { return Chain<N - 1>::f(x * 3 + N) ^ N; } };
template <> struct Chain<0> { static int f(int x) { return x; } };
int main() {
    std::mt19937 g(7);
    std::vector<int> v(100000);
    for (auto& x : v) x = g() % 1000;
    std::sort(v.begin(), v.end());
    auto part = [&](size_t a, size_t b) { long s = 0; for (; a < b; ++a) s += v[a]; return s; };
    auto f1 = std::async(std::launch::async, part, 0, 50000), f2 = std::async(std::launch::async, part, 50000, 100000);
    std::map<std::string, int> words;
    std::string text = "the cat the dog a cat";
    std::regex word("[a-z]+");
    for (std::sregex_iterator i(text.begin(), text.end(), word), e; i != e; ++i) ++words[i->str()];
    int caught = 0;
    for (int i = 0; i < 1000; ++i) try { if (i % 3 == 0) throw std::runtime_error("x"); } catch (const std::exception&) { ++caught; }
    std::ostringstream o;
    o << f1.get() + f2.get() << ' ' << words["cat"] << ' ' << caught << ' ' << Chain<300>::f(1) << '\n';
    std::cout << o.str();
}
C
for o in -O0 -O2 -O3; do g++ -std=c++20 $o -o big$o big.cpp -pthread; done
test "$(./big-O0)" = "$(./big-O2)"; test "$(./big-O0)" = "$(./big-O3)"; ./big-O2
