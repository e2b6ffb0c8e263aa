"""What programs use of Python's library, on the test data: text, compression, digests, dates, databases, archives."""
import array
import ast
import base64
import binascii
import bisect
import bz2
import collections
import configparser
import copy
import csv
import datetime
import difflib
import email.message
import fractions
import gzip
import hashlib
import heapq
import hmac
import html.parser
import io
import json
import lzma
import os
import pathlib
import pickle
import pprint
import random
import re
import sqlite3
import string
import struct
import sys
import tarfile
import tempfile
import textwrap
import unicodedata
import urllib.parse
import uuid
import xml.etree.ElementTree as tree
import zipfile
import zlib

data = pathlib.Path(sys.argv[1])
words = (data / "words").read_text().split()
big = (data / "big").read_bytes()

for name in sorted(hashlib.algorithms_guaranteed):
    h = hashlib.new(name, big)
    print(name, h.hexdigest(16) if name.startswith("shake") else h.hexdigest())
print(hmac.new(b"k", big, "sha256").hexdigest(), hashlib.pbkdf2_hmac("sha256", b"p", b"s", 500).hex(), hashlib.scrypt(b"p", salt=b"s", n=64, r=8, p=1).hex()[:32])
print(zlib.crc32(big), zlib.adler32(big), binascii.crc_hqx(big, 0))
for level in (1, 6, 9):
    packed = zlib.compress(big, level)
    print(level, len(packed), hashlib.md5(packed).hexdigest(), zlib.decompress(packed) == big)
for module in (bz2, lzma, gzip):
    print(module.__name__, module.decompress(module.compress(big)) == big)
count = collections.Counter(words)
print(count.most_common(5), len(count), heapq.nlargest(3, count), bisect.bisect(sorted(words), "m"))
text = json.dumps({w: [n, n / 3, None, True, w[::-1]] for w, n in count.items()}, sort_keys=True)
print(len(text), hashlib.md5(text.encode()).hexdigest(), json.loads(text) == json.loads(text), json.dumps("é\u2028\n"))
print(pickle.loads(pickle.dumps(count)) == count, [len(pickle.dumps(words, p)) for p in range(6)], copy.deepcopy({1: [2]}) == {1: [2]})
joined = " ".join(words)
print(len(re.findall(r"\b(\w)\w*\1\b", joined)), re.sub(r"(\w+) (\w+)", r"\2 \1", joined[:60]), re.split(r"[aeiou]+", joined[:40]))
print(re.fullmatch(r"(?P<y>\d{4})-(?P<m>\d\d)", "2024-05").groupdict(), [m.span() for m in re.finditer("(?i)A.", joined[:80])])
print(datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc).isoformat(), datetime.date(2024, 12, 31).isocalendar(), datetime.timedelta(days=1.5) / 7)
print(struct.pack("<bhiqfd", -1, 2, -3, 4, 0.5, -0.25).hex(), struct.unpack(">I", b"\x01\x02\x03\x04"), array.array("d", [1, 2.5]).tobytes().hex())
print(base64.b85encode(big[:20]), base64.b32encode(b"abc"), binascii.b2a_uu(b"hello"), urllib.parse.quote("a b/ü?"), urllib.parse.parse_qs("a=1&b=2&a=3"))
db = sqlite3.connect(":memory:")
db.execute("create table t(w text, n int)")
db.executemany("insert into t values (?, ?)", count.items())
print(db.execute("select substr(w, 1, 1) f, sum(n) from t group by f order by f limit 5").fetchall())
random.seed(42)
print(random.random(), random.randrange(10 ** 30), random.sample(range(1000), 5), random.gauss(0, 1), random.choices("abc", [1, 2, 3], k=5))
root = tree.fromstring("<a x='1'><b>t&amp;u</b><b/><c>é</c></a>")
print(tree.tostring(root), [e.text for e in root.iter("b")])
print(list(csv.reader(io.StringIO('a,"b ""q"" c",\n1,2,3\n'))), textwrap.fill(joined[:200], 40), sep="\n")
print("\n".join(difflib.unified_diff(words[:20], words[5:22], lineterm="")))
print(unicodedata.normalize("NFD", "Åé").encode().hex(), unicodedata.name("λ"), ast.dump(ast.parse("a[1] + f(*b)", mode="eval")))
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder)
    with zipfile.ZipFile(path / "z", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("one", big)
    with tarfile.open(path / "t.xz", "w:xz") as t:
        t.add(data / "words", "words")
    print(zipfile.ZipFile(path / "z").testzip(), zipfile.ZipFile(path / "z").infolist()[0].compress_size, tarfile.open(path / "t.xz").getnames())
    (path / "sub" / "deep").mkdir(parents=True)
    (path / "sub" / "f").write_text("x")
    print(sorted(str(p.relative_to(path)) for p in path.rglob("*")), os.path.getsize(path / "sub/f"))
c = configparser.ConfigParser()
c.read_string("[a]\nx = 1\ny = %(x)s2\n")
m = email.message.EmailMessage()
m["Subject"], m["To"] = "Grüße", "a@example.org"
m.set_content("text")
print(dict(c["a"]), m.as_string().replace("\n", "|"), uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"), fractions.Fraction(0.1).limit_denominator(99))
pprint.pprint({"k%d" % i: list(range(i)) for i in range(12)}, width=60)
print(string.Template("$a ${b}").substitute(a=1, b=2))
