// C++ exceptions: through frames with destructors, rethrown, carried between threads, out of constructors; dynamic_cast.
#include <cstdio>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <vector>

namespace {
int alive = 0;
struct Tracked {
    Tracked() { ++alive; }
    Tracked(const Tracked&) { ++alive; }
    ~Tracked() { --alive; }
};
struct Base {
    virtual ~Base() = default;
    virtual int id() const { return 1; }
};
struct Left : virtual Base {
    int id() const override { return 2; }
};
struct Right : virtual Base {
    double weight = 2.5;
};
struct Both : Left, Right {
    int id() const override { return 4; }
};
struct Special : std::runtime_error {
    using runtime_error::runtime_error;
    int code = 42;
};
struct Throwing {
    explicit Throwing(int n) : first(), n(n) {
        if (n % 3 == 0) throw Special("from a constructor");
    }
    Tracked first;
    int n;
};

int dive(int depth, int kind) {
    Tracked here;
    std::string text(static_cast<size_t>(depth), 'x');
    if (depth == 0) {
        switch (kind % 5) {
            case 0: throw kind;
            case 1: throw std::string("text");
            case 2: throw Special("special");
            case 3: throw std::make_unique<Tracked>();
            default: throw 2.5;
        }
    }
    const int r = dive(depth - 1, kind);
    return r + static_cast<int>(text.size());
}
std::string caught(const std::function<void()>& f) {
    try {
        f();
        return "nothing";
    } catch (int i) {
        return "int " + std::to_string(i);
    } catch (const std::string& s) {
        return "string " + s;
    } catch (const Special& s) {
        return std::string("special ") + s.what() + " " + std::to_string(s.code);
    } catch (const std::exception& e) {
        return std::string("exception ") + e.what();
    } catch (const std::unique_ptr<Tracked>&) {
        return "pointer";
    } catch (...) {
        return "something";
    }
}
}  // namespace

int main() {
    for (int kind = 0; kind < 5; ++kind) std::printf("%s, alive %d\n", caught([&] { dive(kind * 7, kind); }).c_str(), alive);
    int total = 0;
    for (int i = 0; i < 3000; ++i) total += static_cast<int>(caught([&] { dive(i % 11, i); }).size());
    std::printf("total %d, alive %d\n", total, alive);
    std::printf("%s\n", caught([] {
                    try {
                        dive(3, 2);
                    } catch (std::runtime_error& e) {
                        throw;
                    }
                }).c_str());
    int built = 0;
    for (int i = 0; i < 30; ++i) {
        try {
            Throwing t(i);
            built += t.n;
        } catch (const Special&) {
            --built;
        }
    }
    std::printf("built %d, alive %d\n", built, alive);
    std::printf("%s\n", caught([] { std::vector<int>(3).at(10); }).c_str());
    std::printf("%s\n", caught([] { std::rethrow_exception(std::make_exception_ptr(Special("pointer"))); }).c_str());
    auto future = std::async(std::launch::async, [] { return dive(5, 2); });
    std::printf("%s\n", caught([&] { future.get(); }).c_str());
    std::vector<std::string> results(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 200; ++i) results[static_cast<size_t>(t)] = caught([&] { dive(9, t); });
        });
    for (auto& t : threads) t.join();
    for (auto& r : results) std::printf("%s\n", r.c_str());
    Both both;
    Base* base = &both;
    std::printf("%d %g %d %s\n", base->id(), dynamic_cast<Right*>(base)->weight, dynamic_cast<Special*>(reinterpret_cast<std::exception*>(0)) == nullptr,
                typeid(*base) == typeid(Both) ? "both" : "other");
    try {
        Base plain;
        (void)dynamic_cast<Both&>(plain);
    } catch (const std::bad_cast& e) {
        std::puts("bad cast");
    }
    return 0;
}
