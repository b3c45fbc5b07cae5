"""Each way into a NATS server, tried with a real one: TLS on both sides, an nkey, a credentials file."""

import base64
import hashlib
import json
import os
import subprocess
import time

import nkeys  # type: ignore[import-untyped]
import pytest

from astropix_relay.configuration.loading import default_config
from astropix_stream.doctor.examination import examine_log
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.url import parse_url
from logs import Server, bridge
from relays import running


@pytest.fixture
def source(group, port):
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    with running(config) as relay:
        yield relay.publisher.endpoint


def reads_what_is_stored(tmp_path, source, server, sender, keys, query):
    """Send readouts through a bridge with these keys; read them with this query."""
    options = {name: str(value) for name, value in keys.items()}
    with bridge(tmp_path, source, nats={"servers": [server.url], **options}) as program:
        program.wait_for("made APX_astropix")
        for i in range(50):
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", i))
        with open_receiver(AstroPix4Readout, url(server, query), timeout=10) as receiver:
            receiver.wait_ready(10)
            assert [receiver.receive().readout_id for _ in range(50)] == list(range(50))
            assert receiver.ledger.lost == 0


def url(server, query):
    return f"{server.url}?start=oldest&stream=astropix&{query}"


def trouble(server, query):
    """Return why a reader cannot read, and what the doctor calls it."""
    with open_receiver(AstroPix4Readout, url(server, query), timeout=5) as receiver:
        with pytest.raises((ReceiveTimeout, RefusedError)) as told:
            receiver.wait_ready(6)
    faults = [verdict.fault for verdict in examine_log(parse_url(url(server, query))) if verdict.fault]
    assert "\n" not in str(told.value)
    return str(told.value), faults


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """Two authorities; the first has signed a server's certificate for 127.0.0.1, and a client's."""
    new_key = ("-newkey", "rsa:2048", "-nodes")
    for name in ("ca", "other"):
        own = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
        openssl("req", "-x509", *new_key, *own, cwd=tmp_path)
    (tmp_path / "san").write_text("subjectAltName=IP:127.0.0.1")
    by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san")
    for name in ("server", "client"):
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", *new_key, *request, cwd=tmp_path)
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *by_ca, cwd=tmp_path)
    return tmp_path


def test_tls_on_both_sides(certificates, source, sender):
    here = certificates
    files = f"cert_file: '{here}/server.pem', key_file: '{here}/server.key', ca_file: '{here}/ca.pem'"
    keys = {"ca": here / "ca.pem", "cert": here / "client.pem", "cert_key": here / "client.key"}
    query = "&".join(f"{name}={path}" for name, path in keys.items())
    with Server(here, f"tls {{{files}, verify: true}}") as server:
        reads_what_is_stored(here, source, server, sender, keys, query)
        words, faults = trouble(server, f"ca={here}/other.pem")
        assert "the server's certificate is not believed (ca=FILE names who signed it)" in words
        assert faults
        words, faults = trouble(server, f"ca={here}/ca.pem")
        assert "asks for a certificate of ours" in words
        assert faults
    with pytest.raises(ConfigError, match="cert_key is for cert"):
        open_receiver(AstroPix4Readout, url(server, f"cert_key={here}/client.key"))


def key(prefix):
    """Return a seed (text), the public key, and what signs."""
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    pair = nkeys.from_seed(bytearray(seed))
    return seed.decode(), pair.public_key.decode(), pair.sign


def test_an_nkey(tmp_path, source, sender):
    seeds = {}
    for name in ("ours", "another"):
        seed, public, _ = key(nkeys.PREFIX_BYTE_USER)
        (tmp_path / name).write_text(f"{seed}\n")
        seeds[name] = public
    users = "authorization {{users: [{{nkey: {}}}]}}".format
    with Server(tmp_path, users(seeds["ours"])) as server:
        reads_what_is_stored(
            tmp_path, source, server, sender, {"nkey": tmp_path / "ours"}, f"nkey={tmp_path}/ours"
        )
        for query in (f"nkey={tmp_path}/another", ""):
            words, faults = trouble(server, query)
            assert "refuses this client" in words
            assert faults


def token(claims, issuer, sign, **nats):
    """Return a JWT as NATS signs them."""
    body = {"iat": int(time.time()), "iss": issuer, **claims, "nats": {"version": 2, **nats}}
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


class Operator:
    """An operator with a system account and one account whose users may use JetStream."""

    LIMITS = dict.fromkeys(
        (
            "subs",
            "data",
            "payload",
            "imports",
            "exports",
            "conn",
            "leaf",
            "mem_storage",
            "disk_storage",
            "streams",
            "consumer",
        ),
        -1,
    ) | {"wildcards": True}

    def __init__(self):
        _, self.public, self.sign = key(nkeys.PREFIX_BYTE_OPERATOR)
        _, self.account, self.account_sign = key(nkeys.PREFIX_BYTE_ACCOUNT)
        _, self.system, _ = key(nkeys.PREFIX_BYTE_ACCOUNT)
        self.revoked: dict[str, int] = {}
        # Made once: a reload with another operator is refused.
        self.own = token({"sub": self.public, "name": "op"}, self.public, self.sign, type="operator")
        self.system_jwt = token({"sub": self.system, "name": "SYS"}, self.public, self.sign, type="account")

    def lines(self):
        account = token({"sub": self.account, "name": "APX"}, self.public, self.sign, type="account",
                        limits=self.LIMITS, revocations=self.revoked)  # fmt: skip
        return (
            f"operator: {self.own}\nsystem_account: {self.system}\nresolver: MEMORY\n"
            f"resolver_preload: {{{self.system}: {self.system_jwt}, {self.account}: {account}}}"
        )

    def user(self, file):
        """Write the credentials of a new user; return its public key."""
        seed, public, _ = key(nkeys.PREFIX_BYTE_USER)
        unlimited = {"subs": -1, "data": -1, "payload": -1}
        jwt = token(
            {"sub": public, "name": "bridge"}, self.account, self.account_sign, type="user", **unlimited
        )
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        return public


def test_a_credentials_file_and_its_revocation(tmp_path, source, sender):
    operator, creds = Operator(), tmp_path / "bridge.creds"
    public = operator.user(creds)
    with Server(tmp_path, operator.lines()) as server:
        reads_what_is_stored(tmp_path, source, server, sender, {"creds": creds}, f"creds={creds}")
        operator.revoked = {public: int(time.time()) + 1}
        server.reload(operator.lines())
        words, faults = trouble(server, f"creds={creds}")
        assert "refuses this client" in words
        assert faults
    stranger = tmp_path / "stranger.creds"
    Operator().user(stranger)
    with Server(tmp_path, operator.lines()) as server:
        words, _ = trouble(server, f"creds={stranger}")
        assert "refuses this client" in words


@pytest.mark.parametrize("name", ["creds", "nkey"])
@pytest.mark.parametrize("text", ["", "no seed at all\n"])
def test_files_that_are_none(tmp_path, name, text):
    file = tmp_path / "file"
    file.write_text(text)

    def read():
        source = f"nats://127.0.0.1:1?stream=astropix&{name}={file}"
        with open_receiver(AstroPix4Readout, source, timeout=3) as receiver:
            receiver.wait_ready(4)

    with pytest.raises((ConfigError, ReceiveTimeout, RefusedError)) as told:
        read()
    assert "\n" not in str(told.value)
