"""What a stream's account is told beside new readouts, and how an account is shown."""

import pytest

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger, PathAccount, StreamLedger
from astropix_stream.counting.places import Place

EPOCH_NS = 1_700_000_000_000_000_000
DAQ, OTHER = Source("10.0.1.1", 40000), Source("10.0.1.9", 40001)


def at(seconds):
    return Moment(seconds, EPOCH_NS + round(seconds * 1e9))


def batch(source, ids):
    """Readouts without data: what they hold is looked at only where an id comes again."""
    ids = range(*ids)
    return Batch(source, EPOCH_NS, b"", ids, [EPOCH_NS + i for i in ids], range(len(ids)))


def goes_on(ledger, told, now):
    return ledger.goes_on([told], told.readout_ids, told.timestamps[-1], now)


def test_readouts_that_go_on_are_noted_without_being_walked():
    ledger = StreamLedger()
    assert not goes_on(ledger, batch(DAQ, (0, 2)), at(0))  # nobody has been heard yet
    ledger.note(batch(DAQ, (0, 3)), at(0))
    assert goes_on(ledger, batch(DAQ, (3, 6)), at(0.1))
    assert not goes_on(ledger, batch(DAQ, (7, 9)), at(0.2))  # 6 is missing
    assert not goes_on(ledger, batch(OTHER, (6, 9)), at(0.2))
    assert (ledger.totals().received, ledger.totals().lost) == (6, 0)


@pytest.mark.parametrize(("stride", "missing"), [(1, 18), (10, 0)])
def test_a_stride_that_is_told_later_holds_for_the_readouts_to_come(stride, missing):
    ledger = StreamLedger()
    ledger.received(DAQ, [0], [EPOCH_NS], at(0))
    ledger.stride = stride
    assert ledger.stride == stride
    ledger.received(DAQ, [10, 20], [EPOCH_NS + 10, EPOCH_NS + 20], at(0.1))
    ledger.tick(at(10))
    assert ledger.totals().lost == missing


def test_an_account_of_paths_is_told_to_programs_and_to_people():
    path = PathAccount("tcp://a:5556", 7, 3, Ledger(delivered=10, lost_at={Place.BEFORE_SOCKET: 2}))
    told = Ledger(delivered=12, paths=(path,)).to_json()
    (told_path,) = told["paths"]
    assert (told_path["name"], told_path["first"], told_path["later"]) == ("tcp://a:5556", 7, 3)
    assert (told_path["ledger"]["lost"], told_path["ledger"]["lost_at"]) == (2, {"before_socket": 2})
    assert str(path).startswith("tcp://a:5556: 7 first, 3 later copies, 2 lost of 12: 2 before the socket")
    assert "paths" not in Ledger(delivered=12).to_json()
    assert repr(Ledger(delivered=12)) == "<Ledger: nothing lost of 12>"
