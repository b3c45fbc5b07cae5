"""Arguments of senders and receivers are checked, and the text names the one that is wrong."""

import math

import numpy as np
import pytest

from astropix_stream.arguments import check_seconds, check_whole
from astropix_stream.errors import ConfigError
from astropix_stream.file_receiver import FileReceiver
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.receiving.arbiter import Arbiter
from astropix_stream.relay import RelayReceiver
from astropix_stream.sock import MulticastReceiver, MulticastSender


@pytest.mark.parametrize("value", [1, 2**80, np.int64(7), np.uint8(7)])
def test_whole_numbers_are_taken(value):
    assert check_whole("stride", value, 1) == value


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True, math.nan])
def test_what_is_no_such_number_is_told(value):
    with pytest.raises(ConfigError, match="stride must be a whole number, 1 or more, not "):
        check_whole("stride", value, 1)
    with pytest.raises(ConfigError, match="ttl must be a whole number from 2 to 9, not "):
        check_whole("ttl", value, 2, 9)
    with pytest.raises(ConfigError, match="not 10"):
        check_whole("ttl", 10, 2, 9)


@pytest.mark.parametrize("value", [None, 0, 0.5, math.inf, np.float32(1), np.int32(3)])
def test_times_are_taken(value):
    assert check_seconds("timeout", value) == value  # as a float


@pytest.mark.parametrize("value", [-1, -0.1, math.nan, "1", True, [1], np.float64(-1)])
def test_what_is_no_time_is_told(value):
    with pytest.raises(ConfigError, match="timeout must be seconds, 0 or more, or None, not "):
        check_seconds("timeout", value)


GROUP = {"group": "239.1.1.1", "interface": "127.0.0.1"}


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (MulticastReceiver, {**GROUP, "stride": 0}, "stride"),
        (MulticastReceiver, {**GROUP, "stride": 1.5}, "stride"),
        (MulticastReceiver, {**GROUP, "timeout": "1"}, "timeout"),
        (MulticastReceiver, {**GROUP, "timeout": -1}, "timeout"),
        (MulticastReceiver, {**GROUP, "receive_buffer": -3}, "receive_buffer"),
        (MulticastReceiver, {**GROUP, "receive_buffer": 2**40}, "receive_buffer"),
        (RelayReceiver, {"endpoint": "tcp://127.0.0.1:9", "stride": 0}, "stride"),
        (RelayReceiver, {"endpoint": "tcp://127.0.0.1:9", "timeout": "x"}, "timeout"),
        (RelayReceiver, {"endpoint": "tcp://127.0.0.1:9", "recover_timeout": -1}, "recover_timeout"),
        (RelayReceiver, {"endpoint": "tcp://127.0.0.1:9", "page_readouts": 0}, "page_readouts"),
        (FileReceiver, {"path": "run.apx", "stride": 0}, "stride"),
    ],
)
def test_receivers_check_what_they_are_given(make, options, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        make(AstroPix4Readout, **options)


@pytest.mark.parametrize("options", [{"ttl": -1}, {"ttl": 256}, {"ttl": "a"}, {"ttl": 1.5}])
def test_a_sender_checks_its_ttl(options):
    with pytest.raises(ConfigError, match=r"^ttl must be a whole number from 0 to 255, not "):
        MulticastSender(interface="127.0.0.1", **options)


def test_the_arbiter_takes_no_stride_of_zero():
    with pytest.raises(ConfigError, match="stride must be"):
        Arbiter(2, stride=0)
