#!/bin/bash
# fetch.sh URL SHA256 FILE: download a file; it stays only if its SHA-256 is the one that is given.
set -euo pipefail
url=$1 sha256=$2 file=$3
[[ $sha256 =~ ^[0-9a-f]{64}$ ]] || { echo "$url: its SHA-256 is wanted, not '$sha256'" >&2; exit 1; }
mkdir -p "$(dirname "$file")"
curl --fail --silent --show-error --location --proto '=https' --tlsv1.2 --output "$file.part" "$url"
echo "$sha256  $file.part" | sha256sum --check --strict --quiet || { rm "$file.part"; exit 1; }
mv "$file.part" "$file"
