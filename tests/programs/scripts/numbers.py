"""Python's numbers: big integers, floats to the last digit, decimals, complex, statistics."""
import cmath
import decimal
import fractions
import math
import statistics

a, b = 3 ** 700, 7 ** 311 + 1
print(a * b % (10 ** 40 + 7), a // b, math.gcd(a, 3 ** 50 * b), pow(b, 12345, 10 ** 30 + 57), math.isqrt(a) % 10 ** 20, (a << 77 ^ b) % 10 ** 20, -a // 7 % 10 ** 15)
print(hex(int("123456789" * 20)), int("z" * 30, 36), (2 ** 200).bit_length(), math.comb(200, 100), math.factorial(60))
values = [0.1, 1 / 3, 1e16, 1e-320, 5e-324, 123456789.123456789, -0.0, 1e22, 1e23, 2.5, 1.7976931348623157e308, math.pi]
for v in values:
    print(repr(v), v.hex(), "%.3g" % v, round(v, 2), v.as_integer_ratio()[1].bit_length(), int(v) % 1000003, math.frexp(v))
print(sum(values[:3]), math.fsum([0.1] * 10), sum([0.1] * 10), [math.floor(x / 2) for x in (-3, 3)], -7 % 3, -7.5 % 2, divmod(-7, 3), divmod(7.5, -2))
print(float("inf") - 1, math.nan != math.nan, 1e308 * 10, math.copysign(1, -0.0), math.remainder(7, 4), math.nextafter(1, 2), math.ulp(1e10))
for f in (math.sqrt, math.floor, math.ceil, math.trunc, abs, round):
    print(f.__name__, [f(x) for x in (0.5, 1.5, 2.25, 1e15 + 0.5)])
decimal.getcontext().prec = 60
d = decimal.Decimal
print(d(1) / 7, d(2).sqrt(), d("1.1") ** 50, d(10).ln(), d(1).exp(), d("2.675").quantize(d("0.01")), d("NaN").is_nan())
print(fractions.Fraction(1, 3) + fractions.Fraction("0.25"), complex(1, 2) * complex(3, -1), cmath.sqrt(-2), abs(3 + 4j))
data = [((i * 7919) % 1009) / 7 for i in range(500)]
print(statistics.mean(data), statistics.median(data), statistics.pstdev(data), statistics.quantiles(data, n=4))
x = 0.5
for i in range(100000):
    x = 3.9 * x * (1 - x) if i % 3 else (x + i % 7) / 8
print(repr(x), [hash(v) for v in (0.5, 10 ** 20, -1, 1.5e300)])
for text in ("1e400", "0x1p-1080", "  12.5e-3 ", "nan", "1_000.5"):
    print(float.fromhex(text) if text.startswith("0x") else float(text))
