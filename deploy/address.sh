#!/bin/sh
# Prints the address of the repository, https://HOST/OWNER/NAME, or nothing if it is not known. Releases link to it; no file in
# the tree names it.
#
# REPOSITORY_ADDRESS if that is set, even if it is empty; in a GitHub workflow its repository; otherwise the remote "origin".
set -eu
cd "$(dirname "$0")"

if [ -n "${REPOSITORY_ADDRESS+set}" ]; then
    address=$REPOSITORY_ADDRESS
elif [ -n "${GITHUB_REPOSITORY:-}" ]; then
    address=${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY
else
    # git@HOST:OWNER/NAME.git and ssh://git@HOST/OWNER/NAME.git name the same pages as https://HOST/OWNER/NAME.
    address=$(git remote get-url origin 2>/dev/null |
        sed 's|^ssh://[^@/]*@|https://|; s|^[^@/:]*@\([^:/]*\):|https://\1/|; s|//[^@/]*@|//|; s|\.git$||') || true
fi
case $address in
    https://*) echo "${address%/}" ;;
esac
