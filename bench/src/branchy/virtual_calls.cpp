// Virtual calls: a tree of expression nodes is evaluated by dynamic dispatch.
#include <memory>
#include <vector>

#include "../kernel.h"

namespace {
struct Node {
    virtual ~Node() = default;
    virtual uint32_t value(uint32_t x) const = 0;
};
struct Constant final : Node {
    explicit Constant(uint32_t v) : v(v) {}
    uint32_t value(uint32_t) const override { return v; }
    uint32_t v;
};
struct Variable final : Node {
    uint32_t value(uint32_t x) const override { return x; }
};
struct Pair : Node {
    std::unique_ptr<Node> a, b;
};
struct Sum final : Pair {
    uint32_t value(uint32_t x) const override { return a->value(x) + b->value(x); }
};
struct Xor final : Pair {
    uint32_t value(uint32_t x) const override { return a->value(x) ^ b->value(x); }
};
struct Product final : Pair {
    uint32_t value(uint32_t x) const override { return a->value(x) * (b->value(x) | 1); }
};

std::unique_ptr<Node> tree(int depth, uint32_t* seed) {
    const uint32_t r = next_random(seed);
    if (depth == 0) {
        if (r & 1) return std::make_unique<Variable>();
        return std::make_unique<Constant>(r);
    }
    std::unique_ptr<Pair> p;
    switch (r % 3) {
        case 0: p = std::make_unique<Sum>(); break;
        case 1: p = std::make_unique<Xor>(); break;
        default: p = std::make_unique<Product>(); break;
    }
    p->a = tree(depth - 1, seed);
    p->b = tree(depth - 1, seed);
    return p;
}
}  // namespace

int main(int argc, char** argv) {
    uint32_t seed = 7;
    const auto root = tree(10, &seed);
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 14000); i > 0; i--) sum = mix(sum, root->value(static_cast<uint32_t>(i)));
    return report(sum);
}
