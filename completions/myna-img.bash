# bash completion for myna-img and the name it answers to. Commands and options come from the program's own --help.
_myna_img() {
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "--help --version $("$program" --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }')" -- "$current")
        return
    fi
    case $previous in
        -f|-F|-O|--format|--target-format|--backing-format)
            mapfile -t COMPREPLY < <(compgen -W "$("$program" --help 2>/dev/null | sed -n 's/^Supported formats: //p')" -- "$current"); return ;;
        -t|-T|--cache|--source-cache) mapfile -t COMPREPLY < <(compgen -W 'none writeback writethrough directsync unsafe' -- "$current"); return ;;
        -r) [[ $command == check ]] && { mapfile -t COMPREPLY < <(compgen -W 'leaks all' -- "$current"); return; } ;;
    esac
    case $current in
        --output=*|--output) mapfile -t COMPREPLY < <(compgen -P --output= -W 'human json' -- "${current#--output=}"); return ;;
        --preallocation=*) mapfile -t COMPREPLY < <(compgen -P --preallocation= -W 'off metadata falloc full' -- "${current#--preallocation=}"); return ;;
        -*) mapfile -t COMPREPLY < <(compgen -W "$("$program" "$command" --help 2>/dev/null | awk '/^  -/ { gsub(/[,=].*/, "", $1); print $1; if ($2 ~ /^--/) { gsub(/=.*/, "", $2); print $2 } }')" -- "$current"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
}
complete -F _myna_img myna-img qemu-img
