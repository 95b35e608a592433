#!/bin/bash
# clone.sh URL COMMIT FOLDER: just this commit of a repository; git checks that its content is it.
set -euo pipefail
url=$1 commit=$2 folder=$3
[[ $commit =~ ^[0-9a-f]{40}$ ]] || { echo "$url: a whole commit is wanted, not '$commit'" >&2; exit 1; }
git init --quiet "$folder"
git -C "$folder" fetch --quiet --depth 1 "$url" "$commit"
git -C "$folder" checkout --quiet FETCH_HEAD
[[ $(git -C "$folder" rev-parse HEAD) == "$commit" ]]
rm -rf "$folder/.git"
