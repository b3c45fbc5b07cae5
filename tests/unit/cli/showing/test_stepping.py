"""Keys of `apx playback`, and where they lead."""

import pytest

from astropix_stream.cli.showing.stepping import KEYS, Stepping, split_keys


class Ten:
    """Ten readouts with the ids 100 to 109; that at 7 has an error."""

    complete = False

    def __len__(self):
        return 10

    def reach(self, index):
        return index < 10

    def last(self):
        return 9

    def find(self, readout_id, index):
        return readout_id - 100 if 100 <= readout_id < 110 else None

    def ids(self):
        return 100, 109

    def next_error(self, index):
        return 7 if index < 7 else None


def press(stepping, keys, rows=5, height=10):
    for key in split_keys(keys):
        stepping.press(key, rows, height)
    return stepping


@pytest.mark.parametrize(
    ("keys", "index", "message"),
    [
        (b"n", 1, ""), (b"\x1b[C", 1, ""), (b"l", 1, ""), (b" ", 1, ""), (b"\x1b[6~", 1, ""),
        (b"\x1bOC", 1, ""),
        (b"nnp", 1, ""), (b"nn\x1b[D", 1, ""), (b"nnb", 1, ""), (b"G", 9, ""), (b"Gg", 0, ""),
        (b"\x1b[F\x1b[H", 0, ""),
        (b"p", 0, "this is the first readout"), (b"Gn", 9, "this is the last readout"), (b"Gnp", 8, ""),
        (b"/105\r", 5, ""), (b"/106\x7f5\n", 5, ""), (b"/1\x7f\x7fn", 1, ""), (b"/1\x1b", 0, ""),
        (b"/\r", 0, ""),
        (b"/1x05\r", 5, ""), (b"/99\r", 0, "no readout has the id 99; they go from 100 to 109"),
        (b"/12345678901\r", 0, "no readout has the id 1234567890; they go from 100 to 109"),
        (b"e", 7, ""), (b"ee", 7, "no later readout has anything wrong with it"), (b"x\x1b[99~\xff", 0, ""),
    ],
)  # fmt: skip
def test_keys_lead_somewhere(keys, index, message):
    stepping = press(Stepping(Ten(), 0), keys)
    assert (stepping.index, stepping.message, stepping.done) == (index, message, False)
    assert stepping.typed is None


def test_a_long_readout_is_shown_page_by_page():
    stepping = Stepping(Ten(), 3)
    places = []
    for key in (b" ", b" ", b" ", b"b", b"j", b"\x1b[B", b"k", b" ", b" ", b"b", b"b"):
        press(stepping, key, rows=25, height=10)
        places.append((stepping.index, stepping.scroll))
    assert places == [
        (3, 10),
        (3, 15),
        (4, 0),
        (3, 0),
        (3, 1),
        (3, 2),
        (3, 1),
        (3, 11),
        (3, 15),
        (3, 5),
        (3, 0),
    ]
    assert press(stepping, b"kk", 25, 10).scroll == 0
    assert press(stepping, b"j", 5, 10).scroll == 0


def test_what_is_typed_is_kept_until_it_is_found_and_q_quits():
    stepping = press(Stepping(Ten(), 0), b"/10")
    assert (stepping.typed, stepping.index) == ("10", 0)
    assert press(stepping, b"\x1bq").done
    assert press(Stepping(Ten(), 0), b"\x04").done
    assert len(KEYS) <= 80


def test_what_a_terminal_sends_is_divided_into_keys():
    assert split_keys(b"n\x1b[C\x1bOA\x1b\x1b[5~/") == [b"n", b"\x1b[C", b"\x1b[A", b"\x1b", b"\x1b[5~", b"/"]
    assert split_keys(b"\x1b[") == [b"\x1b["]
    assert split_keys(b"") == []
