# Perl: data structures, regular expressions, closures, formats, packing, sorting, local and tied variables, objects.
use strict;
use warnings;

open my $f, '<', $ARGV[0] or die "$ARGV[0]: $!";
my @words = map { split } <$f>;
close $f;
my %n;
$n{$_}++ for @words;
print "$_ $n{$_}\n" for (sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n)[0 .. 9];
my $text = join ' ', @words;
print scalar(() = $text =~ /\b(\w)\w*\1\b/g), ' ', ($text =~ tr/a-m//), ' ', length($text =~ s/([aeiou])([^aeiou ])/$2$1/gr), "\n";
while ($text =~ /(?<first>q\w*)\s+(?<second>\w+)/g) { print "$+{first}-$+{second} "; last if pos($text) > 5000 }
print "\n";
my ($re, $depth) = (qr/\((?:[^()]++|(?R))*\)/, 0);
print join('|', '(a(b)c)(d)((e)' =~ /$re/g), "\n";

my @closures = map { my $k = $_; sub { $k += shift // 1 } } 1 .. 3;
$_->(10) for @closures;
print join(',', map { $_->() } @closures), "\n";
my %deep = (list => [1, [2, 3], { k => 'v' }], code => sub { wantarray ? 'list' : 'scalar' });
my @r = $deep{code}->();
print "$deep{list}[1][1] $deep{list}[2]{k} @r ", scalar $deep{code}->(), "\n";
printf "%s %d %05.2f %x %e %b %v d %s\n", 'str', 42, 3.14159, 255, 12345.678, 10, '1.22.333', join ',', map { sprintf '%.15g', $_ } 0.1, 1 / 3, 1e21, 2**53;
print join(' ', unpack('A3 n N v V C/a* w q<', pack('A3 n N v V C/a* w q<', 'abc', 1, 2, 3, 4, 'len', 300, -5))), ' ', unpack('%32C*', $text), ' ', unpack('H*', pack('d>', 1.5)), "\n";
print join(' ', sort { $a <=> $b } map { ($_ * 7919) % 101 } 1 .. 30), "\n";
print join(' ', reverse sort map { lc } qw(Banana apple Cherry)), ' ', ucfirst(lc 'HELLO'), ' ', 'ab' x 3, ' ', join('', ('a', 'b') x 2), "\n";
my $s = 0;
for my $i (1 .. 100000) { $s = ($s * 31 + $i) % 1000003; $s ^= $i & 0xff if $i % 3 == 0 }
print "$s ", 7 / 2, ' ', int(-7 / 2), ' ', -7 % 3, ' ', 2**0.5, ' ', 10 % 3.7, ' ', 1e15 + 0.3, ' ', 0x7fffffffffffffff, ' ', 9223372036854775807 + 1, ' ', ~0, "\n";

package Animal;
sub new { my ($c, %a) = @_; bless {%a}, $c }
sub speak { my $s = shift; sprintf '%s says %s', $s->{name}, $s->sound }
sub sound { 'nothing' }
our $AUTOLOAD;
sub AUTOLOAD { my $s = shift; my $n = $AUTOLOAD; $n =~ s/.*:://; return if $n eq 'DESTROY'; "auto $n(@_)" }
package Dog;
our @ISA = ('Animal');
sub sound { my $s = shift; 'woof and ' . $s->SUPER::sound() }
package main;
print Dog->new(name => 'Rex')->speak, ' ', Dog->new->fetch(1, 2), ' ', Dog->can('speak') ? 'can' : 'cannot', "\n";
eval { die { code => 42 } };
print "died with $@->{code}\n";
eval { my $x = 1 / (@words - @words) };
print $@ =~ /division by zero/ ? "division by zero\n" : "nothing\n";
local $_ = 'aXbXc';
print join('-', split /X/), ' ', join('-', split //, 'abc', 2), ' ', sprintf('%s', join ',', map { $_ ** 2 } grep { $_ % 2 } 1 .. 9), "\n";
our @stack = (1 .. 5);
sub depth { my $n = shift; $n ? 1 + depth($n - 1) : 0 }
{ no warnings 'recursion'; print depth(3000), ' ', "@stack[1 .. 3] $#stack ", join(',', splice(@stack, 1, 2, 'x', 'y', 'z')), " @stack\n"; }
my ($x, $y) = (10, 3);
($x, $y) = ($y, $x) for 1 .. 3;
print "$x $y ", join(' ', map { chr(ord('a') + $_) } 0 .. 5), ' ', "\x{263a}" =~ /\w/ ? 1 : 0, ' ', length "\x{1f600}é", "\n";
format STDOUT =
@<<<<<<<< @>>>>>> @##.## @*
$words[0], $words[1], $n{$words[0]}, 'end'
.
write;
