"""What a reader of a socket gives, made of datagrams without one."""

from astropix_stream.batch import Drained, Source
from astropix_stream.fmt import HEADER, MAGIC

DAQ, OTHER = Source("10.0.1.1", 40000), Source("10.0.1.9", 40001)


def drain(*datagrams, sources=None, drops=()):
    """A drain of which the reader tells no more than it must: it is looked at datagram by datagram."""
    sizes = tuple(map(len, datagrams))
    return Drained(b"".join(datagrams), sizes, sources or [DAQ] * len(datagrams), drops, True)


def by_columns(drained):
    """The same from a reader that told all it could, as `MmsgReader`; beyond a short datagram is garbage."""
    heads = [HEADER.unpack_from(data + MAGIC + bytes(16)) for data in drained.datagrams()]
    even = len({*drained.sizes}) == len({*drained.sources}) == 1
    return drained._replace(sizes=[*drained.sizes], even=even, heads=[*zip(*heads, strict=True)])
