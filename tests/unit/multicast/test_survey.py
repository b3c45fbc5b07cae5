"""A survey answers as the kernel does, and asks it once."""

import socket

import pytest

from astropix_stream.errors import ConfigError
from astropix_stream.multicast import interfaces, memberships, sockets
from astropix_stream.multicast.survey import Survey

LO = interfaces.Interface("lo", socket.if_nametoindex("lo"))


@pytest.fixture
def asked(monkeypatch):
    """Count the questions that reach the kernel."""
    names = []

    def watch(module, name):
        real = getattr(module, name)

        def count(*words):
            names.append(name)
            return real(*words)

        monkeypatch.setattr(module, name, count)

    watch(interfaces, "find_to_join")
    watch(interfaces, "has_link")
    watch(memberships, "all_memberships")
    return names


def test_many_sockets_ask_the_kernel_once(asked, group, port):
    survey = Survey()
    with sockets.open_receiving(group, port, interface=LO) as sock:
        sockets.join(sock, group, LO)
        for _ in range(3):
            assert survey.find_to_join("lo", group, port) == LO
            assert survey.find_to_join("lo", "239.255.0.1", port + 1) == LO
            assert survey.has_link(LO)
            assert survey.is_member(group, LO.index)
            assert survey.is_member("239.254.253.252", LO.index) is False
    assert sorted(asked) == ["all_memberships", "find_to_join", "has_link"]


def test_what_is_joined_later_is_for_the_next_survey(group, port):
    survey = Survey()
    assert survey.is_member(group, LO.index) is False
    with sockets.open_receiving(group, port, interface=LO) as sock:
        sockets.join(sock, group, LO)
        assert survey.is_member(group, LO.index) is False
        assert Survey().is_member(group, LO.index)


def test_the_two_versions_are_asked_apart(asked):
    survey = Survey()
    for group in ("239.1.1.1", "ff15::1", "FF15:0::1"):
        survey.is_member(group, LO.index)
        survey.find_to_join("lo", group, 5007)
    assert sorted(asked) == ["all_memberships"] * 2 + ["find_to_join"] * 2


def test_the_route_to_each_group_is_asked_for(asked, monkeypatch):
    monkeypatch.setattr(interfaces, "local_address", lambda group, port: "127.0.0.1")
    survey = Survey()
    found = [survey.find_to_join(None, group, 5007) for group in ("239.1.1.1", "239.1.1.2", "239.1.1.1")]
    assert {interface.name for interface in found} == {"lo"}
    assert asked == ["find_to_join"] * 2


def test_what_is_not_there_is_asked_for_again(asked):
    survey = Survey()
    for _ in range(2):
        with pytest.raises(OSError, match="no interface is called 'nosuch0'"):
            survey.find_to_join("nosuch0", "239.1.1.1", 5007)
    with pytest.raises(ConfigError):
        survey.find_to_join("127.0.0.1", "ff15::1", 5007)
    assert asked == ["find_to_join"] * 3


def test_where_the_system_does_not_tell_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(memberships, "PROC_NET", tmp_path)
    assert Survey().is_member("239.1.1.1", 1) is None


def test_without_a_descriptor_nothing_can_be_seen(monkeypatch):
    def refuse(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", refuse)
        survey = Survey()
        assert not survey.can_look
    assert not survey.can_look, "of this moment"
    assert Survey().can_look
    assert Survey().namespace
