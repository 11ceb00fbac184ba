#!/bin/sh
# Each third-party package is used by one module, so that a change of a package touches one place. tokio, the runtime, is also
# started by main; both edges speak basic authentication, which is base64.
set -eu
cd "$(dirname "$0")/../.."
failed=0
packages=$(awk '/^\[/ { read = /^\[(target\..*\.)?dependencies\]$/ } read && /^[a-z]/ { print $1 }' Cargo.toml)
for package in $packages; do
    name=$(echo "$package" | tr - _)
    # src/bridge/url.rs and src/bridge.rs are both the module bridge.
    modules=$(grep -rlE "(^|[^a-z_:])$name::|^use $name" src | sed -E 's|^src/([a-z_]+).*|\1|' | sort -u | tr '\n' ' ')
    case "$package: $modules" in
        "tokio: http main web_config ") ;;
        "base64: bridge web_config ") ;;
        *": "*" "*" ") echo "$package is used by several modules: $modules" >&2; failed=1 ;;
        *": ") echo "$package is not used by any module" >&2; failed=1 ;;
    esac
done
exit $failed
