#!/bin/sh
# Prints rules.yml as a release carries it: each runbook_url is the address of the runbook at the tag of this version.
#
#   deploy/prometheus/released.sh https://HOST/OWNER/NAME > rules.yml
#
# Without an argument, the repository is that of the GitHub workflow, or the remote "origin". If neither is a web address, the
# paths of the tree stay.
set -eu
cd "$(dirname "$0")"

repository=${1:-}
if [ -z "$repository" ] && [ -n "${GITHUB_REPOSITORY:-}" ]; then
    repository=${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY
fi
if [ -z "$repository" ]; then
    # git@HOST:OWNER/NAME.git and ssh://git@HOST/OWNER/NAME.git name the same pages as https://HOST/OWNER/NAME.
    repository=$(git remote get-url origin 2>/dev/null |
        sed 's|^ssh://[^@/]*@|https://|; s|^[^@/:]*@\([^:/]*\):|https://\1/|; s|//[^@/]*@|//|; s|\.git$||') || true
fi
case $repository in
    https://*) ;;
    *) echo "released: the address of the repository is not known; runbook_url stays a path" >&2; exec cat rules.yml ;;
esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' ../../Cargo.toml | head -n 1)
sed "s|runbook_url: deploy/prometheus/RUNBOOK.md|runbook_url: ${repository%/}/blob/v$version/deploy/prometheus/RUNBOOK.md|" rules.yml
