# SPDX-License-Identifier: Apache-2.0
# Completion of pyrmapctl(1) for bash.
_pyrmapctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || { command=$word && break; }
    done
    case $previous in
    --state) words='IDLE FILLING READY COMPUTING DONE FAILED' ;;
    --dtype) words='float32 float64 int32 int64 uint8 bundle' ;;
    --order) words='C F' ;;
    --user) words=$(compgen -u) ;;
    --mount)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    *)
        case $command in
        '') words='list show top events wait publish fail gc lsof doctor bench --help --version' ;;
        list) words='--mount --json --state --user --job --names --help' ;;
        show) words='--mount --json --help' ;;
        top) words='--mount --json --delay --count --help' ;;
        events) words='--mount --json --count --help' ;;
        wait) words='--mount --json --state --timeout --help' ;;
        publish) words='--mount --json --result --dtype --shape --order --help' ;;
        fail) words='--mount --json --help' ;;
        gc) words='--mount --json --older --state --user --job --dry-run --help' ;;
        lsof) words='--mount --json --help' ;;
        doctor) words='--mount --json --help' ;;
        bench) words='--mount --json --size --rounds --help' ;;
        esac
        case $command:$current in
        *:-*) ;;
        show:* | events:* | wait:* | publish:* | fail:* | lsof:*) words=$(pyrmapctl list --names 2>/dev/null) ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    [[ $command != publish || ${#COMPREPLY[@]} -gt 0 ]] || mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
complete -F _pyrmapctl pyrmapctl
