#!/bin/sh
# Checks files in deploy that need no build: manual page, completions, unit, Nix, shell scripts, and the list of files in the crate.
# tests/packaging.rs and tests/generated.rs test their content; this script checks that the programs that read them accept them.
. "$(dirname "$0")/root.sh"

# Both programs that show manual pages accept the page without a warning.
page=deploy/man/jitsiexporter.1
mandoc -T lint -W warning $page
said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 --local-file $page 2>&1 >/dev/null)
[ -z "$said" ] || fail "man: $said"

# Each shell loads its completions and completes an option.
bash -c 'source deploy/completions/jitsiexporter.bash
    COMP_WORDS=(jitsiexporter --listen); COMP_CWORD=1; _jitsiexporter; [ "${COMPREPLY[*]}" = --listen-address ]' || fail "bash"
zsh -f -c 'autoload -Uz compinit; fpath=(deploy/completions $fpath); compinit -u -D; [ "${_comps[jitsiexporter]}" = _jitsiexporter ]' \
    && zsh -n deploy/completions/_jitsiexporter || fail "zsh"
fish --no-config -c 'source deploy/completions/jitsiexporter.fish; complete -C "jitsiexporter --listen"' | grep -q '^--listen-address' \
    || fail "fish"

# systemd-analyze must rate the exposure of the unit as at most 1.5 of 10.
systemd-analyze security --offline=true --threshold=15 --no-pager deploy/systemd/jitsiexporter.service | tail -n 1

# Links in released files: without an address none may be dead, and with an address none may be missing.
workdir
for address in "" https://git.example.org/owner/name; do
    export REPOSITORY_ADDRESS="$address"
    deploy/documents.py "$work/documents$address" 2>/dev/null
    JITSIEXPORTER_TEST_DOCUMENTS="$work/documents$address" quiet cargo test --quiet --test documents
done
grep -q "]($address/releases" "$work/documents$address/README.md" || fail "the releases have no address"
grep -q "runbook_url: $address" "$work/documents$address/deploy/prometheus/rules.yml" || fail "the runbook has no address"
deploy/publish.sh --list | grep -q 'README.md' || fail "the crate cannot be packed"

for script in deploy/*.sh deploy/check/*.sh tests/tools/*.sh; do sh -n "$script"; done

# Nix parses both files. The package is evaluated with stand-ins for its arguments from nixpkgs.
export NIX_STATE_DIR="$work/state" NIX_STORE_DIR="$work/store" NIX_LOG_DIR="$work/log" NIX_CONF_DIR="$work"
nix-instantiate --parse deploy/nixos/module.nix >/dev/null
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
found=$(nix-instantiate --eval --strict --expr '
    let package = import ./deploy/nixos/package.nix {
          lib = { importTOML = file: builtins.fromTOML (builtins.readFile file); cleanSource = path: path;
                  licenses = { mit = "mit"; asl20 = "asl20"; }; platforms.linux = [ ]; };
          rustPlatform.buildRustPackage = attributes: attributes;
          installShellFiles = "installShellFiles";
        };
        overlay = builtins.head (import ./deploy/nixos/module.nix).nixpkgs.overlays;
        ours = (overlay { callPackage = file: _: file; } { }).prometheus-jitsi-exporter;
    in assert ours == ./deploy/nixos/package.nix; assert builtins.pathExists package.cargoLock.lockFile;
       builtins.deepSeq package package.version')
[ "$found" = "\"$version\"" ] || fail "the Nix package has the version $found"

# The crate contains the sources and the files that crates.io shows. Cargo adds a few files.
cargo package --list --allow-dirty 2>/dev/null | grep -vE '^(src/.*\.(rs|html)|build\.rs|Cargo\.(toml|toml\.orig|lock)|README\.md|CHANGELOG\.md|LICENSE-(MIT|APACHE)|\.cargo_vcs_info\.json)$' \
    && fail "the crate holds more than it needs"
for needed in src/main.rs build.rs Cargo.lock README.md LICENSE-MIT LICENSE-APACHE; do
    cargo package --list --allow-dirty 2>/dev/null | grep -qx "$needed" || fail "the crate lacks $needed"
done
echo "files: ok"
