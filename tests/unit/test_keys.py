"""Key files: made private from the first moment, read with care, understood by pyzmq."""

import errno
import os
import stat

import pytest
import zmq.auth

from astropix_stream import keys
from astropix_stream.errors import ConfigError


@pytest.fixture
def paths(tmp_path):
    return keys.write_pair(tmp_path / "made", "relay")


def test_a_pair_comes_back_and_pyzmq_reads_it(paths):
    public, secret = paths
    assert (public.name, secret.name) == ("relay.key", "relay.key_secret")
    pair = keys.read_pair(secret)
    assert keys.read_public(public) == keys.read_public(secret) == pair.public
    assert zmq.auth.load_certificate(public) == (pair.public, None)
    assert zmq.auth.load_certificate(secret) == pair
    assert b"secret-key" not in public.read_bytes()


def test_files_of_pyzmq_are_read(tmp_path):
    public, secret = zmq.auth.create_certificates(tmp_path, "monitor")
    os.chmod(secret, 0o600)
    assert keys.read_pair(secret) == zmq.auth.load_certificate(secret)
    assert keys.read_public(public) == zmq.auth.load_certificate(public)[0]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, failing):
    calls = iter(range(1, 10))

    def fsync(fd):
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            keys.write_pair(tmp_path, "relay")
    assert not [*tmp_path.iterdir()]
    keys.write_pair(tmp_path, "relay")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_secret_is_its_owners_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        _, secret = keys.write_pair(tmp_path / "made", "relay")
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert not stat.S_IMODE((tmp_path / "made").stat().st_mode) & 0o077


def test_nothing_is_replaced(paths, tmp_path):
    public, secret = paths
    text = secret.read_text()
    with pytest.raises(FileExistsError):
        keys.write_pair(public.parent, "relay")
    assert secret.read_text() == text
    secret.unlink()
    with pytest.raises(FileExistsError):
        keys.write_pair(public.parent, "relay")
    assert not secret.exists(), "half a pair is taken back"
    target = tmp_path / "elsewhere"
    secret.symlink_to(target)
    with pytest.raises(FileExistsError):
        keys.write_pair(public.parent, "relay")
    assert not target.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_secret_that_others_can_touch_is_refused(paths, mode):
    paths[1].chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.read_pair(paths[1])
    keys.read_pair(paths[1], private=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "holds no secret key"),
        (b'public-key = "short"', "is not a key"),
        (b'secret-key = "' + b"\xff" * 40 + b'"', "is not a key"),
        (b'secret-key = "' + b"a" * 41 + b'"', "is not a key"),
        (b'public-key = "' + b"a" * 40 + b'"', "holds no secret key"),
        (bytes(1_000_000), "holds no secret key"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, words):
    path = tmp_path / "x.key_secret"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=words) as raised:
        keys.read_pair(path)
    assert str(path) in str(raised.value)


def test_halves_of_two_pairs_are_refused(paths, tmp_path):
    other, _ = keys.write_pair(tmp_path, "other")
    text = paths[1].read_text().replace(keys.read_public(paths[0]).decode(), keys.read_public(other).decode())
    paths[1].write_text(text)
    with pytest.raises(ConfigError, match="not that of the secret one"):
        keys.read_pair(paths[1])


def test_a_server_key_is_a_text_or_a_file(paths):
    public = keys.read_public(paths[0])
    for given in (public.decode(), paths[0], str(paths[0])):
        assert keys.server_key(given) == public
    for wrong in ("rubbish", "", "nul\0", paths[0].parent):
        with pytest.raises(ConfigError, match="cannot read the key file"):
            keys.server_key(wrong)


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65, "-x", "a/b"])
def test_names_that_are_not_files(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be a key's name"):
        keys.write_pair(tmp_path, name)
