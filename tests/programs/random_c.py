"""Random C programs with one defined result: integers of every width, floats, arrays, loops, switches, calls, structs.

generate(seed) returns the text. What C leaves open is avoided: arithmetic is unsigned or guarded, shifts are masked,
divisors are never zero, floats stay finite, and conversions to integers stay in range.
"""
import random

INTEGERS = {"uint8_t": 8, "uint16_t": 16, "uint32_t": 32, "uint64_t": 64, "int8_t": 8, "int16_t": 16, "int32_t": 32, "int64_t": 64}
EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


class Program:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.functions = []     # (name, return type, parameter types)
        self.lines = []

    def pick(self, things):
        return self.random.choice(list(things))

    def constant(self, kind):
        if kind in ("float", "double"):
            value = self.pick([0.5, 1.25, -3.0, 1e6, -0.001, 7.75, 1024.0, self.random.uniform(-100, 100)])
            return f"(({kind}){value!r})"
        value = self.pick(EDGES) if self.random.random() < 0.4 else self.random.getrandbits(self.pick([4, 8, 16, 32, 64]))
        return f"(({kind}){value}ull)"

    def leaf(self, kind, scope):
        same = [n for n, t in scope if t == kind]
        if same and self.random.random() < 0.75:
            return self.pick(same)
        others = [n for n, t in scope if t in INTEGERS]
        if kind in INTEGERS and others and self.random.random() < 0.5:
            return f"(({kind}){self.pick(others)})"
        return self.constant(kind)

    def integer(self, kind, scope, depth):
        """An expression of an integer type; all arithmetic in the unsigned type of the same width, at least 32 bits."""
        if depth == 0:
            return self.leaf(kind, scope)
        wide = "uint64_t" if INTEGERS[kind] == 64 else "uint32_t"
        bits = 64 if INTEGERS[kind] == 64 else 32
        a = lambda: self.integer(kind, scope, depth - 1)
        form = self.random.randrange(19)
        if form < 5:
            return f"(({kind})(({wide}){a()} {self.pick('+-*&|^')} ({wide}){a()}))"
        if form == 5:
            return f"(({kind})(({wide}){a()} << ({a()} & {bits - 1})))"
        if form == 6:
            return f"(({kind})({a()} >> ({a()} & {min(INTEGERS[kind], bits) - 1})))"
        if form == 7:
            return f"(({kind})(({wide}){a()} {self.pick('/%')} (({wide}){a()} | 1)))"
        if form == 8 and kind.startswith("int"):
            return f"({kind})safe_{self.pick(['div', 'mod'])}((int64_t){a()}, (int64_t){a()})"
        if form == 9:
            return f"({a()} {self.pick(['<', '<=', '==', '!=', '>'])} {a()} ? {a()} : {a()})"
        if form == 10:
            other = self.pick(INTEGERS)
            return f"(({kind}){self.integer(other, scope, depth - 1)})"
        if form == 11:
            return f"(({kind})rotate(({wide}){a()}, {a()}))" if bits == 64 else f"(({kind})__builtin_bswap32({a()}))"
        if form == 12:
            return f"(({kind}){self.pick(['__builtin_popcountll', 'leading', 'trailing'])}((uint64_t){a()}))"
        if form == 13:
            return f"(({kind})(({a()} && {a()}) || !{a()}))"
        if form == 14:
            return f"table[(uint8_t){a()}]" if kind == "uint32_t" else f"(({kind})table[(uint8_t){a()}])"
        if form == 15:
            return f"(({kind})to_integer({self.floating('double', scope, depth - 1)}))"
        if form == 16 and self.functions:
            return f"(({kind}){self.call(scope, depth - 1)})"
        if form == 17:
            return f"(({kind})~{a()})"
        return f"(({kind})-({wide}){a()})"

    def floating(self, kind, scope, depth):
        if depth == 0:
            return self.leaf(kind, scope)
        a = lambda: self.floating(kind, scope, depth - 1)
        form = self.random.randrange(9)
        finite = "finite" if kind == "double" else "finitef"
        if form < 4:
            return f"{finite}({a()} {self.pick('+-*')} {a()})"
        if form == 4:
            return f"{finite}({a()} / {a()})"
        if form == 5:
            return f"(({kind}){self.integer(self.pick(INTEGERS), scope, depth - 1)})"
        if form == 6:
            return f"({a()} {self.pick(['<', '>=', '=='])} {a()} ? {a()} : -{a()})"
        if form == 7:
            suffix = "" if kind == "double" else "f"
            return f"{finite}(__builtin_{self.pick(['sqrt', 'fabs', 'floor', 'trunc'])}{suffix}(__builtin_fabs{suffix}({a()})))"
        other = "float" if kind == "double" else "double"
        return f"{finite}(({kind}){self.floating(other, scope, depth - 1)})"

    def expression(self, kind, scope, depth):
        return self.floating(kind, scope, depth) if kind in ("float", "double") else self.integer(kind, scope, depth)

    def call(self, scope, depth):
        name, _, kinds = self.pick(self.functions)
        return f"{name}({', '.join(self.expression(k, scope, min(depth, 1)) for k in kinds)})"

    def kind(self):
        return self.pick([*INTEGERS, "uint64_t", "uint32_t", "double", "float"])

    def statements(self, scope, depth, indent):
        scope = list(scope)
        pad = "    " * indent
        out = []
        for _ in range(self.random.randrange(2, 5)):
            form = self.random.randrange(9)
            if form < 3 or not scope:
                kind, name = self.kind(), f"v{self.random.randrange(10**6)}"
                out.append(f"{pad}{kind} {name} = {self.expression(kind, scope, 3)};")
                scope.append((name, kind))
            elif form < 5:
                name, kind = self.pick(scope)
                out.append(f"{pad}{name} = {self.expression(kind, scope, 3)};")
            elif form == 5 and depth:
                out += [f"{pad}if ({self.integer(self.pick(INTEGERS), scope, 2)}) {{", *self.statements(scope, depth - 1, indent + 1),
                        f"{pad}}} else {{", *self.statements(scope, depth - 1, indent + 1), f"{pad}}}"]
            elif form == 6 and depth:
                i = f"i{self.random.randrange(10**6)}"
                out += [f"{pad}for (uint32_t {i} = 0; {i} < {self.random.randrange(2, 9)}; {i}++) {{",
                        *self.statements(scope, depth - 1, indent + 1), f"{pad}}}"]
            elif form == 7 and depth:
                out.append(f"{pad}switch ({self.integer('uint32_t', scope, 2)} % 5) {{")
                for n in range(self.random.randrange(2, 5)):
                    out += [f"{pad}case {n}: {{", *self.statements(scope, 0, indent + 1), f"{pad}}}" + self.pick([" break;", " /* falls through */"])]
                out += [f"{pad}default: break;", f"{pad}}}"]
            else:
                out.append(f"{pad}table[{self.integer('uint8_t', scope, 2)}] = {self.integer('uint32_t', scope, 2)};")
        ints = [n for n, t in scope if t in INTEGERS]
        floats = [n for n, t in scope if t not in INTEGERS]
        out.append(f"{pad}note({self.pick(ints) if ints else 0});")
        if floats:
            out.append(f"{pad}note_float({self.pick(floats)});")
        return out

    def function(self, name):
        kinds = [self.kind() for _ in range(self.random.randrange(1, 9))]
        result = self.pick(INTEGERS)
        parameters = [(f"p{i}", k) for i, k in enumerate(kinds)]
        self.lines.append(f"__attribute__((noinline)) static {result} {name}({', '.join(f'{k} {n}' for n, k in parameters)}) {{")
        self.lines.append("    if (--budget < 0) return 1;")
        self.lines += self.statements(parameters, 2, 1)
        self.lines += [f"    return {self.integer(result, parameters, 3)};", "}"]
        self.functions.append((name, result, kinds))

    def text(self):
        for n in range(self.random.randrange(3, 7)):
            self.function(f"f{n}")
        body = "\n".join(self.lines)
        calls = "\n".join(f"        note({self.call([('seed', 'uint64_t')], 1)});" for _ in range(4))
        return f"{HEAD}\n{body}\n\nint main(void) {{\n    for (uint64_t seed = 1; seed < 40; seed++) {{\n        budget = 400;\n{calls}\n    }}\n{TAIL}"


HEAD = """#include <stdint.h>
#include <stdio.h>
#include <string.h>
static uint64_t sum;
static uint32_t table[256];
static long budget;
static void note(uint64_t v) { sum = (sum ^ v) * 0x9e3779b97f4a7c15u; sum ^= sum >> 31; }
static void note_float(double d) { uint64_t u; memcpy(&u, &d, 8); note(u); }
static double finite(double d) { return d - d == 0 ? d : 1.5; }
static float finitef(float f) { return f - f == 0 ? f : 2.5f; }
static int64_t safe_div(int64_t a, int64_t b) { return b == 0 || (a == INT64_MIN && b == -1) ? a : a / b; }
static int64_t safe_mod(int64_t a, int64_t b) { return b == 0 || (a == INT64_MIN && b == -1) ? 0 : a % b; }
static uint64_t rotate(uint64_t v, uint64_t n) { n &= 63; return v << n | v >> (-n & 63); }
static int leading(uint64_t v) { return v ? __builtin_clzll(v) : 64; }
static int trailing(uint64_t v) { return v ? __builtin_ctzll(v) : 64; }
static int64_t to_integer(double d) { return d > -9e18 && d < 9e18 ? (int64_t)d : 3; }
"""
TAIL = """    for (int i = 0; i < 256; i++) note(table[i]);
    printf("%016llx\\n", (unsigned long long)sum);
    return 0;
}
"""


def generate(seed):
    return Program(seed).text()


if __name__ == "__main__":
    import sys
    print(generate(int(sys.argv[1])))
