"""receiver.columns: the hits that arrive in some seconds, as a table, from real sockets and a real relay."""

import subprocess
import sys
import time

import numpy as np
import pytest

from astropix_stream.columns import decode_columns, hit_dtype
from astropix_stream.errors import ClosedError, ConfigError
from astropix_stream.fmt import ASTROPIX4, AstroPix3Readout, AstroPix4Readout, kind_of_class
from astropix_stream.opening import open_receiver
from integration.test_relay import running_relay

HIT = bytes([0xE0, 1, 2, 3, 4, 5, 6, 7])


@pytest.fixture(params=["udp", "tcp", "both"])
def url(request, group, port):
    direct = f"udp://{group}:{port}?interface=127.0.0.1"
    with running_relay(group, port) as relay:
        relayed = relay.publisher.endpoint
        yield {"udp": direct, "tcp": relayed, "both": [direct, relayed]}[request.param]


def send(sender, *data, first=0):
    readouts = [AstroPix4Readout(each, first + i) for i, each in enumerate(data)]
    for readout in readouts:
        sender.send_readout(readout)
    return readouts


def collect(receiver, count):
    """Call `columns` until so many hits are there."""
    tables, total, deadline = [], 0, time.monotonic() + 20
    while total < count:
        assert time.monotonic() < deadline, tables
        tables.append(receiver.columns(seconds=0.2))
        total += len(tables[-1])
    return np.concatenate(tables)


def test_the_hits_of_every_readout_in_order_with_split_ones_joined(url, sender):
    with open_receiver(AstroPix4Readout, url) as receiver:
        receiver.wait_ready(5)
        sent = send(sender, *[b"\xbc" + HIT * (i % 3) for i in range(60)], b"\xbc" + HIT[:5], HIT[5:])
        hits = collect(receiver, 61)
        assert hits.dtype == hit_dtype(ASTROPIX4)
        assert np.array_equal(hits, decode_columns(sent))
        assert hits["readout_id"][-1] == 61


def test_a_hit_is_joined_from_one_call_to_the_next_and_a_duplicate_is_left_out(group, port, sender):
    url = f"udp://{group}:{port}?interface=127.0.0.1"
    with open_receiver(AstroPix4Readout, url) as receiver:
        _, second = send(sender, b"\xbc" + HIT + HIT[:5], HIT[5:] + b"\xbc")
        assert list(collect(receiver, 2)["readout_id"]) == [0, 1]
        sender.send_readout(second)  # once more
        assert len(receiver.columns(seconds=0.3)) == 0
        assert receiver.ledger.duplicates == 1
        send(sender, b"\xbc" + HIT[:5], first=2)
        assert len(receiver.columns(seconds=0.3)) == 0
        send(sender, HIT[5:], first=3)
        assert list(collect(receiver, 1)["readout_id"]) == [3]


def test_nothing_is_an_empty_table_of_the_kind_after_the_time(group, port):
    url = f"udp://{group}:{port}?interface=127.0.0.1"
    with open_receiver(AstroPix3Readout, url) as receiver:
        began = time.monotonic()
        hits = receiver.columns(seconds=0.2)
        assert time.monotonic() - began >= 0.2
        assert (len(hits), hits.dtype) == (0, hit_dtype(kind_of_class(AstroPix3Readout)))
        assert len(receiver.columns(0)) == 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_said(seconds, group, port):
    with open_receiver(AstroPix4Readout, f"udp://{group}:{port}?interface=127.0.0.1") as receiver:
        with pytest.raises(ConfigError, match="seconds must be 0 or more"):
            receiver.columns(seconds)
    with pytest.raises(ClosedError):
        receiver.columns(0)


def test_a_class_without_hits_is_said(group, port):
    class Plain:
        from_bytes = bytes

    with open_receiver(Plain, f"udp://{group}:{port}?interface=127.0.0.1") as receiver:
        with pytest.raises(ConfigError, match="no table of hits"):
            receiver.columns(0)


def test_without_numpy_it_says_what_to_install(group, port):
    program = f"""
import sys
sys.modules["numpy"] = None
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
open_receiver(AstroPix4Readout, "udp://{group}:{port}?interface=127.0.0.1").columns(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ImportError: astropix_stream.columns needs NumPy: pip install" in done.stderr
