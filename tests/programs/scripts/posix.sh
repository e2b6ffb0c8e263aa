# The POSIX shell language with builtins only: expansion, arithmetic, functions, loops, here-documents, traps, subshells.
set -u
fib() { if [ "$1" -lt 2 ]; then echo "$1"; else echo $(( $(fib $(($1 - 1))) + $(fib $(($1 - 2))) )); fi; }
fib 9
i=0 sum=0
while [ $i -lt 2000 ]; do
    case $i in *7) sum=$((sum + i)) ;; [1-3]?) sum=$((sum * 2 % 10007)) ;; *) : ;; esac
    i=$((i + 1))
done
echo "$sum $((0x1f << 3 | 1)) $((-7 / 2)) $((1 ? 5 : 6))"
name=archive.tar.gz
echo "${name%.*} ${name%%.*} ${name#*.} ${name##*.} ${#name} ${unset_variable:-default} ${name:+set}"
set -- one "two words" three
for word in "$@"; do printf '<%s>' "$word"; done
echo " $# $*"
shift 2
while read -r a b; do echo "$b:$a"; done <<END
first second
third $1 $((6 * 7))
END
(exit 3) || echo "subshell ended with $?"
echo "piped" | { read -r line; echo "got $line"; }
trap 'echo trapped' USR1
kill -USR1 $$
trap 'echo leaving' EXIT
eval 'x="$((2 + 3))"; echo $x'
IFS=:
set -- $(echo a:b:c)
echo "$2 $#"
unset IFS
value=$( (echo inner; exit 4) )
echo "$value $?"
set -f
echo *.none
f() { local v=local; echo "$v"; return 9; }
f; echo $?
: > /dev/null && ! false && echo chain
umask 077
cd / && echo "$PWD"
