# Made from the table of options by `make generate`.
_jitsiexporter() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    case $previous in
        --ca-file|--web-config-file) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        --url|--listen-address|--timeout|--max-scrapes) ;;
        *) mapfile -t COMPREPLY < <(compgen -W "--url --listen-address --timeout --max-scrapes --ca-file --web-config-file --legacy-names --once --demo --version --help" -- "$current") ;;
    esac
}
complete -o filenames -F _jitsiexporter jitsiexporter
