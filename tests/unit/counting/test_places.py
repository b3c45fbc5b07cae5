"""The places where a readout can be lost."""

import pytest

from astropix_stream.counting.places import Place


def test_places_are_told_in_the_order_of_the_way():
    """From the DAQ by the relay to this program; there are more between, for longer ways."""
    way = ["before_socket", "relay_kernel", "relay_rejected", "relay_to_client", "client_queue"]
    keys = [place.key for place in Place]
    assert [key for key in keys if key in way] == way
    assert len({*keys, *map(str, Place)}) == 2 * len(keys)  # no name and no text stands for two


@pytest.mark.parametrize("place", Place)
def test_each_place_completes_a_sentence_and_only_a_kernel_may_count_too_much(place):
    assert f"12 lost {place}" == f"12 lost {place.value}"
    assert place.is_kernel == ("kernel" in place.value)
