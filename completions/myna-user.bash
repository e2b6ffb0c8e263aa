# bash completion for myna-user and the names it answers to. Options come from the program's own -help.
_myna_user() {
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $previous in
        -L) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
        -D|-plugin) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        -accel) mapfile -t COMPREPLY < <(compgen -W 'jit interp' -- "$current"); return ;;
        -cpu) mapfile -t COMPREPLY < <(compgen -W "help max $("$program" -cpu help 2>/dev/null | awk '/^  [a-z0-9]/ { print $1 }')" -- "$current"); return ;;
        -d)   # a list: complete its last item
            local head=
            [[ $current == *,* ]] && head=${current%,*},
            mapfile -t COMPREPLY < <(compgen -P "$head" -W "help $("$program" -d help 2>/dev/null | awk '/^  / { print $1 }')" -- "${current##*,}")
            return ;;
        -E|-U|-0|-r|-s|-B|-R|-p|-seed|-g|-dfilter|-jit-disable|-host-mask|-cache-size|-trace) return ;;
    esac
    if [[ ${COMP_WORDS[1]} == binfmt ]]; then
        mapfile -t COMPREPLY < <(compgen -W "list install remove status doctor aarch64 riscv64 --persist --dry-run --replace --flags --interpreter" -- "$current")
        return
    fi
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$program" -help 2>/dev/null | awk '/^  -/ { print $1 }')" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _myna_user myna-user qemu-aarch64 qemu-aarch64-static qemu-riscv64 qemu-riscv64-static
