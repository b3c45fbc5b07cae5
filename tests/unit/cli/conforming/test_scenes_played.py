"""What a scripted relay does with scenes: find them, speak of its own port, say what a client did wrong."""

import json

import pytest

from astropix_stream import wire
from astropix_stream.cli.conforming import scenes
from astropix_stream.errors import ConfigError


def test_scenes_are_found_by_name_and_all_without_one():
    playable = [scene for scene in scenes.load() if scene.live]
    assert scenes.find([]) == playable
    assert scenes.find([playable[1].name, playable[0].name]) == [playable[1], playable[0]]
    others = [scene.name for scene in scenes.load() if not scene.live]
    for name in [*others, "no such"]:
        with pytest.raises(ConfigError, match=r"no scene .* to play; apx conformance --list"):
            scenes.find([name])


def test_a_client_is_stopped_where_a_step_says_so_and_each_scene_begins_with_a_hello():
    for scene in scenes.load():
        assert scene.sleeps == any(step.sleep_until_s is not None for step in scene.steps)
        if scene.live:
            assert isinstance(wire.parse_message([scene.hello]), wire.Hello)


@pytest.mark.parametrize("port", [None, 5557])
def test_the_port_that_is_open_is_told_where_one_is(port):
    hello = wire.pack_hello(wire.Hello(1, "1", {"astropix": 4000}, port))
    told = wire.parse_hello(scenes.with_history_port(hello, 40000))
    assert told.history_port == (None if port is None else 40000)
    assert told == wire.parse_hello(hello)._replace(history_port=told.history_port)


def test_a_frame_that_is_not_json_stays():
    for frame in (b"", bytes(range(256)), b"{", json.dumps([1]).encode()):
        assert scenes.with_history_port(frame, 40000) == frame
