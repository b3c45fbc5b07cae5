#!/bin/sh
# Makes what installs the relay without a network, in dist/:
#
#   build.sh wheelhouse   astropix-relay-VERSION-MACHINE.tar.gz: unpack, sudo ./install.sh
#   build.sh deb          astropix-relay_VERSION-REVISION_ARCHITECTURE.deb
#
# Both hold the wheels of all that is needed, and install.sh, which makes the environment on the target: wheels fit
# every distribution with one of PYTHONS, while an environment fits only the Python that it was made with. Variables:
# PYTHON, PYTHONS ("3.11 3.13"; by default that of PYTHON), EXTRAS ("nats"), REVISION (of the package).
set -eu
umask 022

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
EXTRAS=${EXTRAS:-nats}
REVISION=${REVISION:-1}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' client/astropix_stream/_version.py)
work=build/packaging

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# A pip of our own where the system has none, as Debian has not without python3-pip.
find_pip() {
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m venv build/pip || fail "$PYTHON has no pip and cannot make a venv: apt install python3-venv"
        PYTHON=build/pip/bin/python
    fi
    PYTHONS=${PYTHONS:-$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
}

# What install.sh needs beside it, for each of PYTHONS.
collect() {
    mkdir -p "$1/wheels" "$1/config"
    # nkeys, which the bridge needs, has no wheel on PyPI.
    "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$1/wheels" . nkeys
    for python in $PYTHONS; do
        "$PYTHON" -m pip download --quiet --disable-pip-version-check --only-binary=:all: \
            --python-version "$python" --find-links "$1/wheels" --dest "$1/wheels" \
            "$(echo "$1"/wheels/astropix_stream-"$version"-*.whl)[$(echo $EXTRAS | tr ' ' ',')]"
    done
    install -m 755 packaging/install.sh "$1"
    install -m 644 config/*.service config/*.yaml config/*.conf "$1/config"
}

wheelhouse() {
    name=astropix-relay-$version-$(uname -m)
    collect "$work/$name"
    install -m 644 packaging/INSTALL.txt LICENSE "$work/$name"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        -czf "dist/$name.tar.gz" "$name"
    echo "dist/$name.tar.gz"
}

deb() {
    command -v dpkg-deb >/dev/null || fail "dpkg-deb is missing: build the package on Debian or Ubuntu"
    architecture=$(dpkg --print-architecture)
    debian_version=$(echo "$version" | sed 's/\(a\|b\|rc\|\.dev\)\([0-9]\)/~\1\2/')-$REVISION # 1.0rc1 is before 1.0
    root=$work/deb
    shared=$root/usr/share/astropix-relay
    collect "$shared"
    install -d "$root/DEBIAN" "$root/usr/lib/systemd/system" "$root/usr/lib/sysctl.d" "$root/usr/bin" \
        "$root/etc/astropix-relay" "$root/etc/astropix-bridge" "$root/usr/share/doc/astropix-relay"
    install -m 644 "$shared"/config/*.service "$root/usr/lib/systemd/system"
    install -m 644 "$shared/config/90-astropix-relay.conf" "$root/usr/lib/sysctl.d"
    install -m 644 "$shared/config/relay.yaml" "$root/etc/astropix-relay"
    install -m 644 "$shared/config/bridge.yaml" "$root/etc/astropix-bridge"
    install -m 644 LICENSE "$root/usr/share/doc/astropix-relay/copyright"
    gzip -9n <CHANGELOG.md >"$root/usr/share/doc/astropix-relay/changelog.gz"
    for command in astropix-relay apx astropix-bridge; do
        ln -s "/opt/astropix-relay/current/bin/$command" "$root/usr/bin/$command"
    done
    printf '%s\n' /etc/astropix-relay/relay.yaml /etc/astropix-bridge/bridge.yaml >"$root/DEBIAN/conffiles"
    control >"$root/DEBIAN/control"
    install -m 755 packaging/debian/preinst packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm \
        "$root/DEBIAN"
    install -m 644 packaging/debian/triggers "$root/DEBIAN"
    (cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    file=dist/astropix-relay_${debian_version}_$architecture.deb
    dpkg-deb --root-owner-group -Zgzip --build "$root" "$file" >/dev/null
    echo "$file"
}

# The target's python3 must be one of those for which there are wheels.
control() {
    first=$(printf '%s\n' $PYTHONS | sort -V | head -n 1)
    last=$(printf '%s\n' $PYTHONS | sort -V | tail -n 1)
    sed -e "s/@VERSION@/$debian_version/" -e "s/@ARCHITECTURE@/$architecture/" \
        -e "s/@FIRST@/$first/" -e "s/@AFTER@/${last%.*}.$((${last#*.} + 1))/" \
        -e "s/@SIZE@/$(du -sk "$root" | cut -f 1)/" packaging/debian/control
}

case ${1:-} in wheelhouse | deb) ;; *) fail "build.sh wheelhouse or build.sh deb" ;; esac
rm -rf "$work"
mkdir -p "$work" dist
find_pip
"$1"
