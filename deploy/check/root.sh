# Sourced by the scripts that check packages. Goes to the root of the repository.
set -eu
cd "$(dirname "$0")/../.."

fail() {
    echo "$(basename "$0" .sh): FAILED: $*" >&2
    exit 1
}

# Makes a folder, $work, that is removed at the end of the script.
workdir() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
}

# Mounts a copy of this machine's root at $work/root. What is written there is gone when the mount namespace ends.
overlay() {
    mount -t tmpfs tmpfs "$work"
    mkdir "$work/root" "$work/upper" "$work/work"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
}

# quiet COMMAND...: its output goes to $work/log, and is shown only if it fails.
quiet() {
    "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }
}
