#!/bin/sh
# Prints rules.yml as attached to a release: each runbook_url is the address of the runbook at the tag of this version.
#
#   deploy/prometheus/released.sh > rules.yml
#
# If deploy/address.sh does not know the address of the repository, the paths of the tree stay.
set -eu
cd "$(dirname "$0")"

address=$(../address.sh)
if [ -z "$address" ]; then
    echo "released: the address of the repository is not known; runbook_url stays a path" >&2
    exec cat rules.yml
fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' ../../Cargo.toml | head -n 1)
sed "s|runbook_url: deploy/prometheus/RUNBOOK.md|runbook_url: $address/blob/v$version/deploy/prometheus/RUNBOOK.md|" rules.yml
