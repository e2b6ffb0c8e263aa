# What bash adds: arrays, maps, patterns, process substitution of builtins, coprocesses, printf, regular expressions.
declare -A map=([one]=1 [two]=2)
map[three]=3
list=(a b "c d" {1..5})
list+=(end)
echo "${#list[@]} ${list[@]:2:3} ${list[-1]} ${!map[@]}" | { read -r l; echo "${#l}"; }
for k in one two three; do printf '%s=%s ' "$k" "${map[$k]}"; done
echo
text="The Quick brown fox"
[[ $text =~ ([A-Z][a-z]+)\ ([A-Z][a-z]+) ]] && echo "${BASH_REMATCH[2]} ${BASH_REMATCH[1]}"
echo "${text,,} ${text^^} ${text//o/0} ${text/#The/A} ${text: -3} ${text@Q}"
primes=()
for ((n = 2; ${#primes[@]} < 60; n++)); do
    for p in "${primes[@]}"; do ((p * p > n)) && break; ((n % p == 0)) && continue 2; done
    primes+=($n)
done
echo "${primes[@]: -5}"
mapfile -t lines < <(for i in {1..100}; do echo "line $i"; done)
echo "${#lines[@]} ${lines[42]}"
coproc { while read -r x; do echo "$((x * x))"; done; }
echo 12 >&"${COPROC[1]}"
read -r answer <&"${COPROC[0]}"
echo "$answer"
printf '%(%F)T %q %b %05d %x\n' 86400 'a b' 'tab\there' 42 255
shopt -s extglob
case foobar in +(fo|o)@(bar|baz)) echo extended ;; esac
f() { local -n ref=$1; ref+=(added); }
f list
echo "${list[-1]}" "$((2 ** 62))" "$((16#ff))" "${FUNCNAME[0]:-main}"
select_sum=0
for ((i = 0; i < 3000; i++)); do ((select_sum += i % 7 ? i : -i, select_sum %= 100003)); done
echo "$select_sum"
(sleep 0.05 2>/dev/null; exit 5) &
wait $!
echo "waited $?"
trap 'echo "error on a line"' ERR
false
trap - ERR
set -o pipefail
false | true
echo "pipefail $?"
exec 3<<< "here string"
read -r -u 3 first rest
echo "$rest $first"
