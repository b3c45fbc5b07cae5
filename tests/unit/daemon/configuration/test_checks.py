import os
import socket

import pytest

from astropix_relay.configuration.checks import endpoint_problems, interface_problems
from astropix_relay.configuration.loading import load_config

NOTHING_ELSE = "history: {size: 0}\nmetrics: {listen: null}\n"


def problems(endpoint):
    return endpoint_problems(load_config(f"publish: {{endpoint: '{endpoint}'}}\n{NOTHING_ELSE}"))


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "tcp://*:0", "tcp://[::1]:0"])
def test_endpoints_that_can_be_bound(endpoint):
    assert problems(endpoint) == []


def test_port_in_use_is_told_with_its_key():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (problem,) = problems(f"tcp://127.0.0.1:{port}")
        assert problem.startswith(
            f"publish.endpoint: tcp://127.0.0.1:{port}: another program listens there, "
        )
        assert problem.endswith(f" (process {os.getpid()})")
    assert problems(f"tcp://127.0.0.1:{port}") == []


def test_each_endpoint_is_tried():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        text = (
            f"history: {{endpoint: 'tcp://127.0.0.1:{one.getsockname()[1]}'}}\n"
            f"metrics: {{listen: '127.0.0.1:{two.getsockname()[1]}'}}\n"
            "publish: {endpoint: 'tcp://127.0.0.1:0'}\n"
        )
        found = endpoint_problems(load_config(text))
    assert [problem.partition(":")[0] for problem in found] == ["history.endpoint", "metrics.listen"]


def test_address_of_another_host():
    (problem,) = problems("tcp://192.0.2.1:5556")  # RFC 5737: an address that nobody has
    assert "no interface of this host has this address" in problem


def test_unix_socket_needs_its_directory(tmp_path):
    assert problems(f"ipc://{tmp_path}/relay") == []
    (problem,) = problems(f"ipc://{tmp_path}/missing/relay")
    assert "No such file or directory" in problem


def test_the_interfaces_of_streams_and_outputs_are_looked_for():
    output = "{multicast: '239.1.1.1:5007', interface: %s, stream: far}"
    text = "streams: [{interface: nosuch0}, {name: far, from: ['tcp://a:5556']}]\noutputs: [%s]\n"
    config = load_config(text % (output % "nosuch1"))
    assert [problem.partition(":")[0] for problem in interface_problems(config)] == [
        "streams[0].interface",
        "outputs[0].interface",
    ]
    assert len(interface_problems(load_config(text % (output % "lo")))) == 1
