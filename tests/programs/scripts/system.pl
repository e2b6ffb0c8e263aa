# Perl at the system: fork and wait, pipes, signals, files, directories, sockets, sleeping.
use strict;
use warnings;
$| = 1;
pipe(my $r, my $w) or die;
my $pid = fork // die;
if (!$pid) { close $r; print $w "line $_\n" for 1 .. 500; close $w; exit 3 }
close $w;
my @lines = <$r>;
waitpid $pid, 0;
print scalar(@lines), ' ', $? >> 8, " $lines[-1]";
my $got = '';
$SIG{USR1} = sub { $got .= 'u' };
$SIG{ALRM} = sub { die "alarm\n" };
kill USR1 => $$ for 1 .. 3;
eval { alarm 1; select undef, undef, undef, 5; alarm 0 };
print "$got $@";
$pid = fork // die;
if (!$pid) { kill KILL => $$; sleep 10 }
waitpid $pid, 0;
print $? & 127, "\n";
my $dir = "/tmp/perl-test-$$";
mkdir $dir or die;
for my $i (1 .. 20) { open my $f, '>', "$dir/f$i" or die; print $f "x" x $i; close $f }
opendir my $d, $dir or die;
my @names = sort grep { !/^\./ } readdir $d;
closedir $d;
my $sum = 0;
$sum += -s "$dir/$_" for @names;
print scalar(@names), " $sum ", join(',', @names[0 .. 2]), "\n";
rename "$dir/f1", "$dir/g" or die;
chmod 0600, "$dir/g";
utime 1e9, 1e9, "$dir/g";
my @s = stat "$dir/g";
printf "%o %d %d\n", $s[2] & 07777, $s[7], $s[9];
open my $f, '+<', "$dir/f20" or die;
seek $f, 5, 0;
print $f 'middle';
seek $f, 0, 0;
print scalar <$f>, "\n";
close $f;
unlink glob "$dir/*";
rmdir $dir or die;
print -e $dir ? 'there' : 'gone', ' ', (open(my $no, '<', '/nonexistent') ? '' : "$!"), ' ', `echo shell`, system('exit 6') >> 8, "\n";
print join(' ', gmtime 1e9), ' ', $^O, "\n";
