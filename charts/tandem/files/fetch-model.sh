# Brings a model's files and checks their hashes. What is there and right is kept; what is partly there
# is continued; nothing gets its name before its hash is right.
#
# usage: sh fetch-model.sh LIST DIRECTORY
#   LIST has one file a line: SHA-256, path within the directory, address
#   HEADER_FILE  a file with a header for every request
set -eu

list=$1
directory=$2

right() { [ -f "$1" ] && echo "$2  $1" | sha256sum -c - >/dev/null 2>&1; }

# What other pods left behind in a directory they share.
find "$directory" -name '.partial-*' -mtime +1 -delete

while read -r hash path address; do
    file=$directory/$path
    # Of this pod only: others may fetch into the same directory.
    partial=$directory/.partial-$(hostname)-$hash
    if right "$file" "$hash"; then
        echo "fetch-model: $path is there"
        continue
    fi
    mkdir -p "$(dirname "$file")"
    if ! right "$partial" "$hash"; then
        echo "fetch-model: fetching $path"
        curl --fail --silent --show-error --location --retry 5 --retry-delay 2 --continue-at - \
            ${HEADER_FILE:+--header "@$HEADER_FILE"} --output "$partial" -- "$address"
        if ! right "$partial" "$hash"; then
            rm -f "$partial"
            echo "fetch-model: $path from $address has another hash than $hash" >&2
            exit 1
        fi
    fi
    mv "$partial" "$file"
done <"$list"
