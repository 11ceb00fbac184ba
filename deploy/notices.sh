#!/bin/sh
# Prints the licences of the libraries in the binary, which have to accompany it.
#   deploy/notices.sh TARGET...
set -eu
cd "$(dirname "$0")/.."
cargo_home=${CARGO_HOME:-$HOME/.cargo}

echo "jitsiexporter is linked with the libraries below, under the licences that follow each. It is also linked with Rust's"
echo "standard library (MIT or Apache-2.0, the Rust Project contributors) and musl (MIT, Rich Felker and others)."
for target in "$@"; do
    cargo tree --locked --target "$target" --edges normal,no-proc-macro --prefix none --no-dedupe --format '{p}|{l}'
done | sed 's/ ([^|]*)|/|/' | LC_ALL=C sort -u | while IFS='|' read -r package licence; do
    name=${package% v*}
    [ "$name" != jitsiexporter ] || continue
    folder=$(ls -d "$cargo_home"/registry/src/*/"$name-${package##* v}" | head -n 1)
    printf '\n%s\n%s (%s)\n\n' "==============================================================================" "$package" "$licence"
    # If MIT is one of several licences to choose from, MIT is chosen.
    files=
    case $licence in
        *"MIT AND"* | *"AND MIT"*) ;;
        *MIT*) files=$(find "$folder" -maxdepth 1 \( -iname 'licen[sc]e-mit*' -o -iname 'mit-licen[sc]e*' \)) ;;
    esac
    if [ -z "$files" ]; then
        files=$(find "$folder" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname '*-licen[sc]e' -o -iname 'copying*' -o -iname 'notice*' \) | LC_ALL=C sort)
    fi
    [ -n "$files" ] || { echo "notices: $package has no licence file" >&2; exit 1; }
    echo "$files" | while read -r file; do tr -d '\r' <"$file"; done
done
