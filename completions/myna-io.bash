# bash completion for myna-io and qemu-io. Options come from the program's own --help.
_myna_io() {
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $previous in
        --cache|-t) [[ $program == *io ]] || [[ $previous == --cache ]] && { mapfile -t COMPREPLY < <(compgen -W 'none writeback writethrough directsync unsafe' -- "$current"); return; } ;;
        --aio) mapfile -t COMPREPLY < <(compgen -W 'threads native io_uring' -- "$current"); return ;;
        --discard) mapfile -t COMPREPLY < <(compgen -W 'ignore unmap' -- "$current"); return ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$program" --help 2>/dev/null | grep -oE -- '--[a-z-]+')" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _myna_io myna-io qemu-io
