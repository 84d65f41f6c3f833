#!/bin/sh
# The installer's address. It is scripts/install.sh: from a checkout that file, otherwise fetched.
set -u

main() {
    case $0 in
        */install.sh | install.sh)
            installer=$(dirname -- "$0")/scripts/install.sh
            if [ -f "$installer" ]; then exec sh "$installer" "$@"; fi ;;
    esac
    url=${CLAUDEBOX_SOURCE_URL:-https://raw.githubusercontent.com/psyb0t/docker-claudebox/master/scripts}/install.sh
    if command -v curl >/dev/null; then script=$(curl -fsSL "$url")
    else script=$(wget -q -O - "$url")
    fi || { echo "install: error: $url cannot be fetched" >&2; exit 69; }
    exec sh -c "$script" sh "$@"
}

main "$@"
