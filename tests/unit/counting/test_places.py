"""The places where a readout can be lost."""

import pytest

from astropix_stream.counting.places import Place


def test_places_are_told_in_the_order_of_the_way():
    """Up to where they come back together: what every path lost, and what this program let go."""
    assert [place.key for place in Place] == [
        "before_socket",
        "relay_kernel",
        "relay_rejected",
        "relay_to_client",
        "client_kernel",
        "client_rejected",
        "every_path",
        "client_queue",
    ]


@pytest.mark.parametrize("place", Place)
def test_each_place_completes_a_sentence_and_only_a_kernel_may_count_too_much(place):
    assert f"12 lost {place}" == f"12 lost {place.value}"
    assert place.is_kernel == ("kernel" in place.value)
