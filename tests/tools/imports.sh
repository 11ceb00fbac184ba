#!/bin/sh
# Checks the structure of src. Each third-party package is used by one module, so that a change of a package affects one place:
# src/serve and src/bridge count as one module each, in src/metrics each file is one. tokio, the runtime, is also started by main;
# both edges speak basic authentication, which is base64; rustix is the system calls that the standard library lacks. src/serve knows nothing of Jitsi and imports nothing from above it.
set -eu
cd "$(dirname "$0")/../.."
failed=0
packages=$(awk '/^\[/ { read = /^\[(target\..*\.)?dependencies\]$/ } read && /^[a-z]/ { print $1 }' Cargo.toml)
for package in $packages; do
    name=$(echo "$package" | tr - _)
    modules=$(grep -rlE "(^|[^a-z_:])$name::|^use $name" src | sed -E 's|^src/(metrics/)?([a-z_]+).*|\2|' | sort -u | tr '\n' ' ')
    case "$package: $modules" in
        "tokio: main serve ") ;;
        "base64: bridge serve ") ;;
        "rustix: bridge log ") ;;
        *": "*" "*" ") echo "$package is used by several modules: $modules" >&2; failed=1 ;;
        *": ") echo "$package is not used by any module" >&2; failed=1 ;;
    esac
done

# The content of a file before its tests.
program() { for file in $(find "$1" -name '*.rs'); do sed "/^#\[cfg(test)\]/,\$d; s|^|$file: |" "$file"; done; }
if program src/serve | grep -iE 'jitsi|jvb|videobridge|colibri|bridge'; then
    echo "src/serve is the HTTP side of any exporter: it must not know of the bridge" >&2; failed=1
fi
if program src/serve | grep -E 'crate::' | grep -vE 'crate::(serve|log|lock|file|resolve|words)\b'; then
    echo "src/serve imports from above it" >&2; failed=1
fi
if program src/metrics | grep -E 'crate::' | grep -vE 'crate::(metrics|error)\b'; then
    echo "src/metrics imports from above it" >&2; failed=1
fi
if program src/bridge | grep -E 'crate::' | grep -vE 'crate::(bridge|error|lock|file|resolve|words)\b'; then
    echo "src/bridge imports from above it" >&2; failed=1
fi
exit $failed
