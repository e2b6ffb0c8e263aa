#!/bin/bash
# perl's own core tests, of the source package that the installed perl was made from, with the installed perl
# (MYNA_PERL_TESTS: which, as base/*.t)
set -e
command -v xz >/dev/null && command -v perl >/dev/null || exit 77
version=$(perl -e 'printf "%vd", $^V')
cd /usr/src
if [ ! -d perl-$version/t ]; then
    sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/source.list
    apt-get -q update
    # Only the tarball is needed; mirrors have been seen without the .dsc.
    apt-get -q source --download-only perl || [ -f perl_$version.orig.tar.xz ]
    tar xf perl_$version.orig.tar.xz --no-same-owner
fi
cd perl-$version
# The layout of a build tree: ./perl and ../lib.
ln -sf /usr/bin/perl perl; ln -sf /usr/bin/perl t/perl
for from in $(perl -MConfig -e 'print "$Config{privlibexp} $Config{archlibexp}"'); do cp -aLn $from/. lib/; done
cd t
chown nobody .. && chown -R nobody . && ulimit -c 0
# Left out: what needs what only a build makes (uniprops, goto_xs, goto of newer versions), what takes hours (fold_grind, anyof), and what Debian's
# later fixes of the installed perl change (threads-dirh: copies of a directory handle share its place now).
cat > /tmp/perl-tests <<'S'
tests=$(ls ${MYNA_PERL_TESTS:-base/*.t comp/*.t cmd/*.t io/*.t opbasic/*.t op/*.t re/*.t uni/*.t mro/*.t lib/*.t} | grep -v 're/uniprops\|re/fold_grind\|re/regexp_qr_embed_thr\|re/anyof\|op/goto_xs\|op/threads-dirh')
grep -q XS::APItest op/goto.t && tests=$(echo "$tests" | grep -vx op/goto.t)
# The factor is for the tests' own watchdogs.
PERL_TEST_TIME_OUT_FACTOR=10 PERL_CORE=1 PERL_SKIP_TTY_TEST=1 ./perl TEST $tests
S
# Some tests want a user who may not do everything.
setpriv --reuid nobody --regid nogroup --clear-groups sh /tmp/perl-tests > /tmp/perl-tests.out 2>&1 < /dev/null || { tail -40 /tmp/perl-tests.out; exit 1; }
tail -3 /tmp/perl-tests.out
