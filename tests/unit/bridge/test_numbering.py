"""Numbers of the bridge's own, and a receiver's account in a relay's words."""

from astropix_bridge.numbering import Numberer, relay_counts
from astropix_stream.batch import Position
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from unit.bridge.batches import batch


def test_numbers_of_the_bridges_own():
    numberer = Numberer(77)
    assert numberer.number(batch(40, 45)).position == Position(77, 0)
    assert numberer.number(batch(5, 9)).position == Position(77, 5)


def test_a_receivers_account_in_a_relays_words():
    ledger = Ledger(
        delivered=5, lost_at={Place.EVERY_PATH: 3, Place.CLIENT_KERNEL: 2, Place.CLIENT_REJECTED: 1}
    )
    counts = relay_counts(ledger)
    assert (counts.before_socket, counts.in_kernel, counts.rejected, counts.lost) == (
        3,
        2,
        {"rejected": 1},
        6,
    )
