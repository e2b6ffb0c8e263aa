// The C++ standard library at work: containers, algorithms, streams, regular expressions, big strings.
#include <algorithm>
#include <deque>
#include <iomanip>
#include <iostream>
#include <list>
#include <map>
#include <numeric>
#include <queue>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

int main() {
    std::mt19937_64 random(12345);
    std::vector<uint64_t> values(20000);
    std::generate(values.begin(), values.end(), random);
    std::sort(values.begin(), values.end());
    std::cout << std::hex << values[0] << ' ' << values[9999] << ' ' << std::accumulate(values.begin(), values.end(), uint64_t{0}) << std::dec << '\n';
    std::map<std::string, int> ordered;
    std::unordered_map<uint64_t, std::string> hashed;
    std::set<int> unique;
    std::priority_queue<int> heap;
    std::deque<int> deque;
    std::list<int> list;
    for (int i = 0; i < 5000; ++i) {
        const auto v = values[static_cast<size_t>(i * 3)];
        ordered["k" + std::to_string(v % 997)] += i;
        hashed[v] = std::string(v % 40, static_cast<char>('a' + v % 26));
        unique.insert(static_cast<int>(v % 777));
        heap.push(static_cast<int>(v % 100000));
        (i & 1) ? deque.push_back(i) : deque.push_front(i);
        list.push_back(static_cast<int>(v % 1000));
    }
    list.sort();
    list.unique();
    size_t length = 0;
    for (auto& [k, v] : hashed) length += v.size();
    std::cout << ordered.size() << ' ' << ordered.begin()->first << ' ' << ordered["k5"] << ' ' << length << ' ' << unique.size() << ' ' << heap.top() << ' '
              << deque.front() << ' ' << list.size() << '\n';
    std::ostringstream out;
    for (int i = 0; i < 50; ++i) out << std::setw(8) << std::setprecision(i % 12 + 1) << (i * 1.37 - 20) / 3 << (i % 10 == 9 ? '\n' : ' ');
    std::cout << out.str();
    std::regex words("([a-z]+)([0-9]+)(-?)");
    const std::string text = "abc123 de45- f6 gg77-hh88 nothing 9";
    for (std::sregex_iterator it(text.begin(), text.end(), words), end; it != end; ++it) std::cout << (*it)[1] << '/' << (*it)[2] << '/' << (*it)[3].length() << ' ';
    std::cout << std::regex_replace(text, words, "<$2$1>") << '\n';
    std::normal_distribution<double> normal;
    std::uniform_int_distribution<int> dice(1, 6);
    double sum = 0;
    int pips = 0;
    std::mt19937 small(7);
    for (int i = 0; i < 1000; ++i) pips += dice(small);
    for (int i = 0; i < 10; ++i) sum += std::generate_canonical<double, 53>(small);
    std::cout << pips << ' ' << std::setprecision(17) << sum << '\n';
    std::string big;
    for (int i = 0; i < 2000; ++i) big.insert(big.size() / 2, std::to_string(i));
    std::cout << big.size() << ' ' << big.find("1999") << ' ' << std::count(big.begin(), big.end(), '7') << ' ' << std::stod("1.25e3") + std::stoi("-77") << '\n';
    std::vector<int> numbers(1000);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), small);
    std::stable_partition(numbers.begin(), numbers.end(), [](int n) { return n % 3 == 0; });
    std::nth_element(numbers.begin() + 334, numbers.begin() + 500, numbers.end());
    std::cout << std::accumulate(numbers.begin(), numbers.begin() + 334, 0) << ' ' << numbers[500] << '\n';
    return 0;
}
