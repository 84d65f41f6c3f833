#!/bin/sh
# Installs the host command `claudebox`, makes its SSH key and fetches the image. Run it again to update.
#
#   curl -fsSL https://raw.githubusercontent.com/psyb0t/docker-claudebox/master/install.sh | sh
#   scripts/install.sh                      from a checkout
#   scripts/install.sh --uninstall
#
# Asks nothing, so it runs anywhere. Never replaces a key, never removes sessions. What it finds of docker-claude-code
# and of earlier versions it takes over: the key is copied, the old command is moved aside.

set -uf
# Of scripts/claudebox beside this file; tests/wrapper/run seal writes it.
checksum=d9c96f553d3eab63fcb928919d07c1f69ef4f152bcae364421dce298902d9161
source_url=${CLAUDEBOX_SOURCE_URL:-https://raw.githubusercontent.com/psyb0t/docker-claudebox/master/scripts}
# A line that every version of the host command has had.
ours='psyb0t/claude'

usage() {
    cat <<'USAGE'
Usage: install.sh [NAME] [options]

  NAME             what the command is called          (CLAUDEBOX_BIN_NAME, default claudebox)
  --dir DIR        where it goes                       (CLAUDEBOX_INSTALL_DIR, default: where it is, else
                   /usr/local/bin if that can be written to, else ~/.local/bin if that is on PATH, else
                   /usr/local/bin with sudo)
  --image IMAGE    the image it uses                   (CLAUDEBOX_IMAGE, default psyb0t/claudebox:latest)
  --minimal        psyb0t/claudebox:latest-minimal     (CLAUDEBOX_MINIMAL=1)
  --no-pull        do not fetch the image now
  --uninstall      remove the command, its containers and completions; sessions and keys stay
  --help
USAGE
}

say() { printf '%s\n' "$*"; }
warn() { printf 'install: warning: %s\n' "$*" >&2; }
die() { code=$1; shift; printf 'install: error: %s\n' "$*" >&2; exit "$code"; }

work=''
clean() { [ -z "$work" ] || rm -rf "$work"; }

main() {
    name=${CLAUDEBOX_BIN_NAME:-${CLAUDE_BIN_NAME:-claudebox}}
    dir=${CLAUDEBOX_INSTALL_DIR:-${CLAUDE_INSTALL_DIR:-}}
    image=${CLAUDEBOX_IMAGE:-${CLAUDE_IMAGE:-}}
    case ${CLAUDEBOX_MINIMAL:-${CLAUDE_MINIMAL:-}} in
        '' | 0 | false | no | off) ;;
        *) [ -n "$image" ] || image=psyb0t/claudebox:latest-minimal ;;
    esac
    pull=1 uninstall=''
    while [ $# -gt 0 ]; do
        case $1 in
            --dir | --image)
                [ -n "${2:-}" ] || die 64 "$1 needs a value"
                case $1 in --dir) dir=$2 ;; --image) image=$2 ;; esac
                shift ;;
            --minimal) image=psyb0t/claudebox:latest-minimal ;;
            --no-pull) pull='' ;;
            --uninstall) uninstall=1 ;;
            -h | --help) usage; return ;;
            -*) usage >&2; die 64 "unknown option $1" ;;
            *) name=$1 ;;
        esac
        shift
    done
    [ -n "${HOME:-}" ] || die 78 "HOME is not set"
    case $name in '' | -* | *[!A-Za-z0-9._-]*) die 64 "$name cannot be the name of a command" ;; esac
    case $dir in '' | /*) ;; *) die 64 "the folder $dir must be an absolute path" ;; esac
    case $image in -* | *[!A-Za-z0-9._/:@-]*) die 64 "$image is not the name of an image" ;; esac
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
        warn "this runs as root: keys and sessions will be in $HOME, not in those of $SUDO_USER"
    fi
    find_place
    if [ -n "$uninstall" ]; then
        remove
        return
    fi
    check_engine
    work=$(mktemp -d) || die 70 "no temporary folder can be made"
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    fetch
    choose_image
    data=${CLAUDEBOX_DATA_DIR:-${CLAUDE_DATA_DIR:-$HOME/.claude}}
    [ -d "$data" ] || (umask 077 && mkdir -p "$data") || die 73 "the folder $data cannot be made"
    make_key
    put_command
    take_over
    put_completions
    get_image
    finish
}

# Where the command is or goes: $target.
find_place() {
    if [ -z "$dir" ]; then
        for place in /usr/local/bin "$HOME/.local/bin"; do
            if is_ours "$place/$name"; then dir=$place; break; fi
        done
    fi
    if [ -z "$dir" ]; then
        dir=/usr/local/bin
        if [ ! -w $dir ]; then
            case :${PATH:-}: in *":$HOME/.local/bin:"*) dir=$HOME/.local/bin ;; esac
        fi
    fi
    target=$dir/$name
}

# is_ours FILE: a host command of this or an earlier version?
is_ours() { [ -f "$1" ] && head -c 2 "$1" | grep -q '#!' && grep -q "$ours" "$1"; }
# Of this version or a later one?
is_current() { is_ours "$1" && grep -q CLAUDEBOX_HOST_SETTINGS "$1"; }

# as_owner FOLDER COMMAND...: with sudo if the folder cannot be written to.
as_owner() {
    folder=$1
    shift
    if [ -w "$folder" ]; then "$@"
    elif command -v sudo >/dev/null; then
        say "sudo is needed for $folder"
        sudo "$@"
    else die 77 "$folder cannot be written to by $(id -un), and there is no sudo: use --dir $HOME/.local/bin"
    fi
}

check_engine() {
    engine=${CLAUDEBOX_ENGINE:-}
    if [ -z "$engine" ]; then
        engine=docker
        command -v docker >/dev/null || ! command -v podman >/dev/null || engine=podman
    fi
    command -v "$engine" >/dev/null \
        || die 69 "$engine is not installed: install Docker (https://docs.docker.com/engine/install/) or Podman first"
    [ -n "$pull" ] || return 0
    if ! reply=$("$engine" version 2>&1 >/dev/null); then
        case $reply in
            *"ermission denied"*) die 69 "$engine may not be used by $(id -un): sudo usermod -aG docker $(id -un), then sign in again" ;;
            *) die 69 "$engine does not answer: start it first (or use --no-pull). It says: $reply" ;;
        esac
    fi
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"
    elif command -v shasum >/dev/null; then shasum -a 256 "$1"
    elif command -v openssl >/dev/null; then openssl dgst -sha256 -r "$1"
    else die 69 "one of sha256sum, shasum and openssl is needed"
    fi
}

# The host command, verified, in $work/claudebox.
fetch() {
    case $0 in */install.sh | install.sh) beside=$(dirname -- "$0")/claudebox ;; *) beside='' ;; esac
    if [ -n "$beside" ] && [ -f "$beside" ]; then
        cp -- "$beside" "$work/claudebox" || exit 66
        from=checkout
    else
        from=$source_url
        if command -v curl >/dev/null; then curl -fsSL "$source_url/claudebox" -o "$work/claudebox"
        elif command -v wget >/dev/null; then wget -q -O "$work/claudebox" "$source_url/claudebox"
        else die 69 "curl or wget is needed"
        fi || die 69 "$source_url/claudebox cannot be fetched"
    fi
    sum=$(sha256 "$work/claudebox") || exit
    if [ "${sum%% *}" != "$checksum" ]; then
        [ "$from" = checkout ] || die 65 "$source_url/claudebox is not what this installer belongs to (checksum ${sum%% *} instead of $checksum): nothing was changed; try again, and report it if it stays so"
        warn "$beside has been changed since its checksum was taken"
    fi
    sh -n "$work/claudebox" || die 65 "the host command cannot be read"
}

choose_image() {
    # An update keeps what was chosen.
    if [ -z "$image" ] && is_current "$target"; then
        image=$(sed -n "s/^default_image='\(.*\)'\$/\1/p" "$target" | head -n 1)
    fi
    if [ -z "$image" ] && [ "$from" = checkout ] && [ -n "$pull" ] \
        && ! "$engine" image inspect psyb0t/claudebox:latest >/dev/null 2>&1 \
        && "$engine" image inspect claudebox:minimal >/dev/null 2>&1; then
        # What scripts/image has built from this checkout.
        image=claudebox:minimal
    fi
    image=${image:-psyb0t/claudebox:latest}
    sed "s|^default_image=''\$|default_image='$image'|" "$work/claudebox" >"$work/command" || exit 70
    grep -qxF "default_image='$image'" "$work/command" || die 70 "the image cannot be written into the host command"
}

make_key() {
    keys=${CLAUDEBOX_SSH_DIR:-${CLAUDE_SSH_DIR:-$HOME/.ssh/claudebox}}
    old=$HOME/.ssh/claude-code
    if [ ! -d "$keys" ]; then (umask 077 && mkdir -p "$keys") || die 73 "the folder $keys cannot be made"; fi
    if [ -e "$keys/id_ed25519" ]; then
        say "key:        $keys/id_ed25519 (kept)"
        return
    fi
    if [ -f "$old/id_ed25519" ]; then
        # Everything in it: known hosts and settings belong to it. The old folder stays.
        (set +f; umask 077; for file in "$old"/* "$old"/.[!.]*; do
            [ -f "$file" ] && [ ! -e "$keys/${file##*/}" ] || continue
            cp -p "$file" "$keys/" || exit 1
        done) || die 73 "the key in $old cannot be copied to $keys"
        say "key:        $keys/id_ed25519 (copied from $old)"
        return
    fi
    if ! command -v ssh-keygen >/dev/null; then
        warn "ssh-keygen is not installed: git over SSH will not work in the box until there is a key in $keys"
        return
    fi
    if ! ssh-keygen -q -t ed25519 -C "claudebox@$(uname -n)" -f "$keys/id_ed25519" -N ''; then
        warn "no key can be made in $keys: git over SSH will not work in the box until there is one"
        return
    fi
    say "key:        $keys/id_ed25519 (new; its public half for GitHub and others: $keys/id_ed25519.pub)"
}

# keep_aside FILE: moves a command of an earlier version to where it is out of the way.
keep_aside() {
    aside=${XDG_DATA_HOME:-$HOME/.local/share}/claudebox/replaced
    mkdir -p "$aside" || die 73 "the folder $aside cannot be made"
    kept=$aside/${1##*/} count=0
    while [ -e "$kept" ]; do
        count=$((count + 1)) kept=$aside/${1##*/}.$count
    done
    cp -p "$1" "$kept" || die 73 "$1 cannot be copied to $kept"
}

put_command() {
    if [ -e "$target" ] && ! is_ours "$target"; then
        die 73 "$target is there and is not claudebox: choose another name (install.sh NAME) or folder (--dir)"
    fi
    if [ -f "$target" ] && cmp -s "$work/command" "$target"; then
        say "command:    $target (up to date)"
        return
    fi
    if [ -f "$target" ] && ! is_current "$target"; then
        keep_aside "$target"
        say "command:    the earlier $target is kept as $kept"
    fi
    [ -d "$dir" ] || mkdir -p "$dir" 2>/dev/null || as_owner "$(dirname -- "$dir")" mkdir -p "$dir" || exit 73
    # Beside its place, then moved there: who calls it meanwhile gets the old one or the new one.
    if ! { as_owner "$dir" cp "$work/command" "$dir/.$name.new" && as_owner "$dir" chmod 755 "$dir/.$name.new" \
        && as_owner "$dir" mv -f "$dir/.$name.new" "$target"; }; then
        die 73 "$target cannot be written"
    fi
    say "command:    $target"
}

# docker-claude-code called its command `claude`.
take_over() {
    for place in "$dir" /usr/local/bin "$HOME/.local/bin"; do
        old=$place/claude
        if [ "$old" = "$target" ] || ! is_ours "$old" || is_current "$old"; then continue; fi
        keep_aside "$old"
        as_owner "$place" rm -f "$old" || exit 73
        say "migration:  $old, of docker-claude-code, is kept as $kept"
    done
    [ -n "$pull" ] || return 0
    found=$("$engine" image ls --format '{{.Repository}}:{{.Tag}}' psyb0t/claude-code 2>/dev/null)
    if [ -n "$found" ]; then
        say "migration:  the old image is not needed any more: $engine image rm $(printf %s "$found" | tr '\n' ' ')"
    fi
}

put_completions() {
    [ "$name" = claudebox ] || return 0
    for shell in bash zsh fish; do
        hint='' own=''
        case $shell in
            bash) file=${XDG_DATA_HOME:-$HOME/.local/share}/bash-completion/completions/claudebox ;;
            zsh) find_zsh ;;
            fish) own=${XDG_CONFIG_HOME:-$HOME/.config}/fish file=${XDG_CONFIG_HOME:-$HOME/.config}/fish/completions/claudebox.fish ;;
        esac
        # The shell may be on another PATH than this one.
        command -v $shell >/dev/null || { [ -n "$own" ] && [ -d "$own" ]; } || continue
        if mkdir -p "${file%/*}" && sh "$work/command" completions $shell >"$work/completions" \
            && cp "$work/completions" "$file"; then
            say "completion: $file$hint"
        else
            warn "the completions $file cannot be written"
        fi
    done
}

# find_zsh: a folder for completions of zsh, into $file. By itself zsh looks through none in a home, hence $hint.
find_zsh() {
    own=$HOME/.oh-my-zsh/completions
    if [ -d "$own" ]; then
        file=$own/_claudebox
        return
    fi
    folder=${XDG_DATA_HOME:-$HOME/.local/share}/zsh/site-functions file=$folder/_claudebox
    grep -qsF "$folder" "${ZDOTDIR:-$HOME}/.zshrc" || hint=" (zsh finds it with this line in .zshrc, before compinit: fpath=($folder \$fpath))"
}

get_image() {
    if [ -z "$pull" ]; then
        say "image:      $image (fetched at the first start)"
        return
    fi
    say "image:      fetching $image"
    if [ -t 1 ]; then "$engine" pull "$image"; else "$engine" pull --quiet "$image" >/dev/null 2>"$work/pull"; fi && pulled=1 || pulled=''
    if ! entrypoint=$("$engine" image inspect --format '{{json .Config.Entrypoint}}' "$image" 2>/dev/null); then
        [ ! -s "$work/pull" ] || cat "$work/pull" >&2
        warn "$image cannot be fetched; claudebox tries again at its first start"
        return
    fi
    [ -n "$pulled" ] || say "image:      $image, the one that is on this machine"
    case $entrypoint in
        *'"claudebox","init"'*) ;;
        *) warn "$image is not an image of this version: choose another one (--image)" ;;
    esac
}

finish() {
    case :${PATH:-}: in
        *":$dir:"*) say "ready: go to a project's folder and type $name" ;;
        *) say "ready: $target (add $dir to PATH to type $name)" ;;
    esac
}

remove() {
    if is_current "$target"; then
        sh "$target" uninstall --yes || exit
    elif is_ours "$target"; then
        as_owner "$dir" rm -f "$target" || exit 73
        say "removed $target"
    else
        say "$target is not installed"
    fi
}

main "$@"
