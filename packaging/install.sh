#!/bin/sh
# Installs the relay in versions beside one another, goes back to the one before, and removes it:
#
#   install.sh [install]       make a new version and switch to it
#   install.sh rollback        switch to the version before; TO=0.2.0-1 names another
#   install.sh uninstall       remove everything but the configuration
#   install.sh environment     as install, without units and commands: the Debian package brings those itself
#
#   $PREFIX/versions/0.2.0-1   a venv, with the units of that version in share/astropix-relay
#   $PREFIX/current            a symlink to one of them, which units and commands go through
#   $PREFIX/previous           a symlink to the version that `rollback` switches to
#
# A version is made beside the one that runs, tried, and then switched to with one rename. Whatever goes wrong before
# leaves the old one as it was; a service takes up the new one when it is restarted. `make install`, the tarball of
# `make wheelhouse` and the Debian package all come here. Variables: PREFIX, DESTDIR, PYTHON, EXTRAS (words such as
# "nats monitor"; those of the version before are kept), KEEP (how many versions stay).
set -eu
umask 022 # the service runs under a user of its own, which must be able to read all this

PREFIX=${PREFIX:-/opt/astropix-relay}
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}
KEEP=${KEEP:-3}

here=$(cd "$(dirname "$0")" && pwd)
base=$here # the tarball and the package: wheels/ and config/ lie beside this file
[ -d "$here/wheels" ] || base=$here/..

root=$DESTDIR$PREFIX
units=$DESTDIR/usr/local/lib/systemd/system
sysctl=$DESTDIR/usr/local/lib/sysctl.d
commands=$DESTDIR/usr/local/bin
of_version=share/astropix-relay # in a version: its units, kernel settings, extras, and this file
marker=$root/.astropix-relay    # the directory is ours; and the lock

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
    printf 'astropix-relay: %s\n' "$*" >&2
    exit 1
}

is_flat() { [ -e "$root/pyvenv.cfg" ] && [ -e "$root/bin/astropix-relay" ]; } # as 0.1 was installed: one venv
is_ours() { [ -e "$marker" ] || is_flat; }
is_empty() { [ ! -e "$root" ] || [ -z "$(ls -A "$root")" ]; }
runs_here() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; } # and not on the builder of a package

# PREFIX becomes a directory that `uninstall` removes whole: it is nobody else's, and only one of us changes it.
claim() {
    is_empty || is_ours || fail "$PREFIX holds something else, and is left as it is: name another directory, PREFIX=…"
    mkdir -p "$root/versions" 2>/dev/null || fail "cannot write to $root: run it with sudo"
    : >>"$marker"
    exec 9<"$marker"
    flock --nonblock 9 || fail "another install, rollback or uninstall is at work in $PREFIX"
}

refuse_beside_package() {
    [ -n "$DESTDIR" ] || [ ! -e "/usr/lib/systemd/system/astropix-relay@.service" ] ||
        fail "the Debian package is installed here, which cannot be mixed with this: apt remove astropix-relay first"
}

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or later is needed; $PYTHON is $("$PYTHON" --version 2>&1 || true) (name another: PYTHON=…)"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON cannot make virtual environments: apt install python3-venv"
}

our_version() {
    if [ -d "$base/wheels" ]; then
        ls "$base/wheels" | sed -n 's/^astropix_stream-\([^-]*\)-.*\.whl$/\1/p'
    else
        sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$base/client/astropix_stream/_version.py"
    fi
}

# What was asked for now or at an earlier install, as pip takes it: "monitor,nats", or nothing.
wanted_extras() {
    {
        printf '%s\n' ${EXTRAS:-} | tr ',' '\n'
        cat "$root/current/$of_version/extras" 2>/dev/null || true
        if is_flat && "$root/bin/python" -c 'import nats' 2>/dev/null; then say nats; fi
        if is_flat && "$root/bin/python" -c 'import bokeh' 2>/dev/null; then say monitor; fi
    } | sed '/^$/d' | sort -u | paste -sd , -
}

check_extras() {
    for extra in $(say "$1" | tr ',' ' '); do
        case $extra in
        columns | convert | monitor | nats) ;;
        *) fail "there is no extra '$extra'; there are columns, convert, monitor and nats" ;;
        esac
    done
}

# The next free name: 0.2.0-1, 0.2.0-2, …
next_name() {
    last=$(ls "$root/versions" | sed -n "s/^$1-\([0-9][0-9]*\)$/\1/p" | sort -n | tail -n 1)
    say "$1-$((${last:-0} + 1))"
}

make_version() {
    check_python
    version=$(our_version)
    extras=$(wanted_extras)
    check_extras "$extras"
    for directory in "$root"/versions/*; do
        [ -e "$directory/complete" ] || rm -rf "$directory" # of an install that was killed
    done
    name=$(next_name "$version")
    new=$root/versions/$name
    trap 'give_up' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    "$PYTHON" -m venv "$new"
    fill "$version" "${extras:+[$extras]}"
    "$new/bin/python" -I -m astropix_relay --version >/dev/null
    keep_files_of "$new" "$extras"
    if [ -n "$DESTDIR" ]; then # a venv's scripts name the place where it was made
        (cd "$new" && sed -i "s|$DESTDIR$PREFIX|$PREFIX|g" pyvenv.cfg $(grep -lI . bin/*))
    fi
    : >"$new/complete"
    trap - EXIT INT TERM HUP
}

fill() {
    if [ -d "$base/wheels" ]; then
        set -- --no-index --find-links "$base/wheels" "astropix-stream$2==$1"
    else
        set -- "$base$2"
    fi
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

give_up() {
    rm -rf "$new"
    if [ -e "$root/current" ] || is_flat; then
        warn "version $name could not be installed; what was installed before is as it was"
    else
        warn "version $name could not be installed"
    fi
}

# Units go with their version, so that a rollback brings back those that fit it.
keep_files_of() {
    kept=$1/$of_version
    install -d "$kept"
    say "$2" | tr ',' '\n' >"$kept/extras"
    install -m 755 "$here/install.sh" "$kept/install.sh"
    install -m 644 "$base/config/90-astropix-relay.conf" "$kept"
    for unit in astropix-relay@ astropix-follow@ astropix-bridge@; do
        [ $unit != astropix-bridge@ ] || has_bridge "$1" || continue
        sed "s|/opt/astropix-relay/|$PREFIX/|g" "$base/config/$unit.service" >"$kept/$unit.service"
    done
}

has_bridge() { grep -qx nats "$1/$of_version/extras" 2>/dev/null; }

# An older install is one venv in PREFIX itself. It becomes a version like the others, with its unit, so that a
# rollback leads there. Its service may be running: `lib` leads it on to the modules that it has not imported yet, and
# `bin` leads those on who wrote that path into drop-ins and scripts.
adopt_flat() {
    is_flat || return 0
    old=$("$root/bin/python" -I -m astropix_relay --version 2>/dev/null | sed -n '1s/^astropix-relay \([0-9][^ ]*\).*/\1/p')
    old=${old:-0.1}-0
    to=$root/versions/$old
    rm -rf "$to"
    install -d "$to/$of_version"
    for unit in astropix-relay@ astropix-follow@ astropix-bridge@; do
        [ ! -e "$units/$unit.service" ] || cp -p "$units/$unit.service" "$to/$of_version"
    done
    [ ! -e "$sysctl/90-astropix-relay.conf" ] || cp -p "$sysctl/90-astropix-relay.conf" "$to/$of_version"
    if [ -e "$to/$of_version/astropix-bridge@.service" ]; then say nats >"$to/$of_version/extras"; fi
    for entry in bin include lib lib64 share pyvenv.cfg; do
        [ ! -e "$root/$entry" ] || move "$root/$entry" "$to"
    done
    (cd "$to" && sed -i "s|$PREFIX/bin|$PREFIX/versions/$old/bin|g" $(grep -lI . bin/*))
    ln -s current/bin "$root/bin"
    ln -s "versions/$old/lib" "$root/lib"
    : >"$to/complete"
    switch current "versions/$old"
}

# Into a directory that may have a `share` already.
move() {
    if [ -d "$1" ] && [ -d "$2/${1##*/}" ]; then
        cp -a "$1/." "$2/${1##*/}" && rm -rf "$1"
    else
        mv "$1" "$2"
    fi
}

# One rename(2): there is no moment without the symlink.
switch() {
    ln -sfn "$2" "$root/.$1.new"
    mv -T "$root/.$1.new" "$root/$1"
}

activate() {
    before=$(readlink "$root/current" || true)
    if [ -n "$before" ] && [ "$before" != "versions/$1" ]; then switch previous "$before"; fi
    switch current "versions/$1"
}

place_files_of() {
    from=$root/versions/$1/$of_version
    install -d "$units" "$sysctl"
    for unit in astropix-relay@ astropix-follow@ astropix-bridge@; do
        if [ -e "$from/$unit.service" ]; then
            install -m 644 "$from/$unit.service" "$units"
        else
            rm -f "$units/$unit.service"
        fi
    done
    [ ! -e "$from/90-astropix-relay.conf" ] || install -m 644 "$from/90-astropix-relay.conf" "$sysctl"
    install -d "$commands"
    link_command astropix-relay
    link_command apx
    if has_bridge "$root/versions/$1"; then link_command astropix-bridge; else unlink_command astropix-bridge; fi
    if runs_here; then
        systemctl daemon-reload
        systemctl restart systemd-sysctl || warn "the kernel settings of $sysctl are not in effect"
    fi
}

is_our_link() { [ -L "$1" ] && case $(readlink "$1") in "$PREFIX"/*) ;; *) false ;; esac }

link_command() {
    if is_our_link "$commands/$1" || { [ ! -e "$commands/$1" ] && [ ! -L "$commands/$1" ]; }; then
        ln -sfn "$PREFIX/current/bin/$1" "$commands/$1"
    else
        warn "$commands/$1 is somebody else's, and stays; ours is $PREFIX/current/bin/$1"
    fi
}

unlink_command() { if is_our_link "$commands/$1"; then rm "$commands/$1"; fi; }

place_configuration() {
    place_example astropix-relay relay.yaml
    if has_bridge "$root/current"; then place_example astropix-bridge bridge.yaml; fi
}

place_example() {
    install -d "$DESTDIR/etc/$1"
    [ -e "$DESTDIR/etc/$1/$2" ] || install -m 644 "$base/config/$2" "$DESTDIR/etc/$1"
}

# A configuration that the new version refuses is known before the service is restarted.
check_configurations() {
    [ -z "$DESTDIR" ] || return 0
    for file in /etc/astropix-relay/*.yaml; do
        [ -e "$file" ] || continue
        "$root/current/bin/astropix-relay" check "$file" >/dev/null 2>&1 ||
            warn "$file has mistakes: astropix-relay check $file"
    done
}

# The newest KEEP stay, and whatever is named by a symlink or still running.
remove_old() {
    ls -t "$root"/versions/*/complete | tail -n +$((KEEP + 1)) | while read -r complete; do
        directory=${complete%/complete}
        for link in current previous; do
            [ "$(readlink "$root/$link" || true)" != "versions/${directory##*/}" ] || continue 2
        done
        ! grep -qsF "$PREFIX/versions/${directory##*/}/" /proc/[0-9]*/cmdline || continue
        rm -rf "$directory"
    done
    [ -e "$root/lib" ] || rm -f "$root/lib"
}

tell_how_to_take_up() {
    if runs_here; then say "A service takes it up with: systemctl restart astropix-relay@NAME"; fi
}

do_install() {
    refuse_beside_package
    claim
    make_version
    adopt_flat
    activate "$name"
    place_files_of "$name"
    place_configuration
    check_configurations
    remove_old
    say "Installed: $PREFIX/versions/$name"
    tell_how_to_take_up
}

do_environment() {
    claim
    make_version
    activate "$name"
    check_configurations
    remove_old
}

do_rollback() {
    refuse_beside_package
    [ -L "$root/current" ] || fail "nothing is installed in $PREFIX"
    claim
    now=$(basename "$(readlink "$root/current")")
    to=${TO:-$(basename "$(readlink "$root/previous" || true)")}
    [ -n "$to" ] || fail "no version was installed before $now"
    [ -e "$root/versions/$to/complete" ] || fail "there is no version '$to'; there are: $(ls -C "$root/versions")"
    activate "$to"
    place_files_of "$to"
    check_configurations
    say "Back from $now to $to"
    tell_how_to_take_up
}

# What the operator wrote stays: the configuration, drop-ins, keys.
do_uninstall() {
    refuse_beside_package
    is_empty || is_ours || fail "$PREFIX holds something else, and is left as it is: name ours, PREFIX=…"
    if runs_here; then systemctl stop 'astropix-relay@*' 'astropix-follow@*' 'astropix-bridge@*'; fi
    for unit in astropix-relay@ astropix-follow@ astropix-bridge@; do
        rm -f "$units/$unit.service" "$DESTDIR"/etc/systemd/system/*.wants/"$unit"*.service
    done
    rm -f "$sysctl/90-astropix-relay.conf"
    for command in astropix-relay apx astropix-bridge; do unlink_command $command; done
    rm -rf "$root"
    if runs_here; then systemctl daemon-reload && systemctl restart systemd-sysctl; fi
    say "Removed. The configuration, keys and drop-ins in $DESTDIR/etc are still there."
}

case ${1:-install} in
install) do_install ;;
environment) do_environment ;;
rollback) do_rollback ;;
uninstall) do_uninstall ;;
*) fail "install, rollback or uninstall, not '$1'" ;;
esac
