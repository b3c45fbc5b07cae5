"""The registry of kinds of readouts, by uid; open to kinds that a user brings.

A kind is a value that tells everything others need to know of it: commands, page and exports ask it, and
nothing outside the module of a kind compares uids.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt.pixels import PixelRule
from astropix_stream.fmt.readouts import Readout
from astropix_stream.fmt.status import WALK_PROBLEMS, Decoding


class Kind(NamedTuple):
    """A kind of readout."""

    uid: int
    """The `readout_uid` of files and of the relay's hello."""
    name: str
    """For people: 'AstroPix 4'."""
    readout_class: type[Readout[Any]]
    """Turns bytes into hits."""
    clock_mhz: float = 1.0
    """The clock of TOT: a tick of it is the finest step there is."""
    rows: int = 0
    """Rows of a chip."""
    columns: int = 0
    """Columns of a chip."""
    limit: int = 32
    """Rows and columns that the fields of a hit can hold, which may be more than a chip has."""
    layers: int = 0
    """The highest number of a layer of chips; 0 where there are no layers."""
    chips: int = 32
    """Chips that the field of a hit can tell apart, in each layer."""
    tot_bin_ticks: int = 1
    """Ticks of TOT in the finest bin of a histogram that has some 4000 bins."""
    tot_range_us: float | None = None
    """What a histogram of TOT shows at first, from 0; None for all of its bins."""
    pixel_rule: PixelRule | None = None
    """How a pixel is put together from two half hits; None where a hit is a pixel."""
    problems: tuple[tuple[Decoding, str], ...] = WALK_PROBLEMS
    """The bits that its decoding can set, with names for people."""
    decoder: str = ""
    """What decodes many at once: ``module:name`` of a `columns.Decoder`. Without it each is decoded alone."""
    make: "Callable[..., Kind] | None" = None
    """Makes the kind with other settings, if it has any; see `configured`."""
    settings: tuple[str, ...] = ()
    """What `make` takes."""
    known: bool = True
    """False for a uid that nobody registered: its readouts are bytes."""

    @property
    def slug(self) -> str:
        """The name as an option of a command takes it: 'astropix4'."""
        return _plain(self.name)

    @property
    def hit_class(self) -> type[Any]:
        """Class of its hits, or half hits."""
        return self.readout_class.HIT_CLASS

    @property
    def half_hits(self) -> bool:
        """Whether a hit is a row or a column, and a pixel is two of them."""
        return self.pixel_rule is not None

    @property
    def types(self) -> dict[str, str]:
        """Columns of an exchanged table of its hits: names, in order, and types as NumPy writes them."""
        return dict(self.hit_class.TYPES)

    @property
    def pixel_types(self) -> dict[str, str]:
        """Columns of a table of its pixels; those of the hits where a hit is a pixel."""
        if self.pixel_rule is None:
            return self.types
        first = {"layer": "u1"} if self.layers else {}
        last = {"fpga_timestamp": "u8"} if "fpga_timestamp" in self.types else {}
        return first | _PIXEL_TYPES | last

    def configured(self, **settings: Any) -> "Kind":
        """Return the kind with other settings.

        Parameters
        ----------
        **settings
            ``tot_window`` and ``ts_window`` where there are half hits (see `PixelRule`); others as the kind
            has them, for `ASTEP` ``hit_size``, ``timestamp_bytes`` and ``tick_ns``.

        Raises
        ------
        ConfigError
            If it has no such setting, or not with that value.
        """
        windows = {name: settings.pop(name) for name in ("tot_window", "ts_window") if name in settings}
        kind = self
        if settings:
            for name in settings:
                if name not in self.settings:
                    raise ConfigError(f"{self.name} has no setting {name!r}")
            kind = self.make(**settings) if self.make else self
        if windows:
            if kind.pixel_rule is None:
                raise ConfigError(f"{kind.name} has no setting {next(iter(windows))!r}: a hit is a pixel")
            kind = kind._replace(pixel_rule=kind.pixel_rule.configured(**windows))
        return kind

    def __str__(self) -> str:
        return f"{self.name} ({self.uid})" if self.known else self.name


_PIXEL_TYPES = {
    "chip_id": "u1", "readout_id": "u4", "timestamp": "u8", "column": "u1", "row": "u1", "ts_column": "u1",
    "ts_row": "u1", "tot_column_us": "f8", "tot_row_us": "f8",
}  # fmt: skip

_KINDS: dict[int, Kind] = {}


def register(kind: Kind) -> Kind:
    """Make a kind known to files, receivers and commands.

    Parameters
    ----------
    kind : Kind
        With a uid and a name that no other kind has.

    Returns
    -------
    Kind
        The same.

    Raises
    ------
    ConfigError
        If its uid or its name is taken, or its readout class has another uid.
    """
    if not isinstance(kind, Kind):
        raise ConfigError(f"register() takes a Kind, such as Kind(uid, name, readout_class), not {kind!r}")
    if isinstance(kind.uid, bool) or not isinstance(kind.uid, int) or not 0 <= kind.uid < 1 << 32:
        raise ConfigError(f"{kind.uid!r} is not a uid: it is a number of 32 bits")
    if kind.readout_class.uid() != kind.uid:
        readout_class, uid = kind.readout_class.__name__, kind.readout_class.uid()
        raise ConfigError(f"the kind {kind} has a readout class with another uid: {readout_class} ({uid})")
    for other in _KINDS.values():
        if other == kind:
            return other
        if other.uid == kind.uid:
            raise ConfigError(f"the uid {kind.uid} is that of {other.name}; {kind.name} needs another")
        if other.slug == kind.slug:
            raise ConfigError(f"the name {kind.name!r} is that of {other}; {kind.uid} needs another")
    if not kind.slug or kind.slug.isdecimal():
        raise ConfigError(f"the name {kind.name!r} needs a letter: a number stands for a uid")
    _KINDS[kind.uid] = kind
    return kind


def unregister(uid: int) -> None:
    """Forget a kind that was registered; nothing if there is none."""
    _KINDS.pop(uid, None)


def kinds() -> tuple[Kind, ...]:
    """Give all kinds that are registered, by uid."""
    return tuple(_KINDS[uid] for uid in sorted(_KINDS))


def kind_of(uid: int) -> Kind:
    """Give the kind with a uid; of one that nobody registered, a kind whose readouts are bytes."""
    return _KINDS.get(uid) or _unknown(uid)


def kind_of_class(readout_class: type[Any]) -> Kind:
    """Give the kind that a class of readouts belongs to, with the settings that the class has.

    A class of one's own that was not registered makes a kind without pixels.
    """
    uid = readout_class.uid()
    kind: Kind = (
        getattr(readout_class, "KIND", None)
        or _KINDS.get(uid)
        or Kind(uid, readout_class.__name__, readout_class)
    )
    return kind if kind.readout_class is readout_class else kind._replace(readout_class=readout_class)


def find_kind(text: str) -> Kind:
    """Give the kind that a person means.

    Parameters
    ----------
    text : str
        A uid or a name, and settings behind a colon: ``3000``, ``astropix3``, ``A-STEP``,
        ``astep:timestamp_bytes=8,tick_ns=50``. The uid of no kind stands for readouts that stay bytes.

    Raises
    ------
    ConfigError
        If there is none of that name, or it has no such setting.
    """
    wanted, _, rest = text.partition(":")
    plain = _plain(wanted)
    if plain.isascii() and plain.isdecimal() and int(plain) < 1 << 32:
        kind = kind_of(int(plain))
    else:
        named = {kind.slug: kind for kind in kinds()}
        if plain not in named:
            close = get_close_matches(plain, named, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {_listed()}"
            raise ConfigError(f"{wanted!r} is not a kind of readouts; {hint}")
        kind = named[plain]
    return kind.configured(**_settings(text, rest)) if rest else kind


def _settings(text: str, rest: str) -> dict[str, str]:
    settings = {}
    for part in rest.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{text!r}: write settings as name=value, with commas between them")
        settings[name.strip()] = value.strip()
    return settings


def _listed() -> str:
    return ", ".join(f"{kind.slug} ({kind.uid})" for kind in kinds())


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def uid_to_readout_class(uid: int) -> type[Readout[Any]]:
    """Give the class of readouts that has a unique number.

    Raises
    ------
    FormatError
        If there is none; `kind_of` has a class for any number.
    """
    try:
        return _KINDS[uid].readout_class
    except (KeyError, TypeError):
        known = ", ".join(f"{kind.uid} ({kind.readout_class.__name__})" for kind in kinds())
        raise FormatError(f"no class of readouts has the uid {uid!r}; there is {known}") from None


class UnknownReadout(Readout[Any]):
    """A readout of a kind that nobody registered: bytes, in which no hits are found. Nothing is stripped."""

    __slots__ = ()

    UID = 0
    PADDING = b""

    def hits_as_text(self, clean: bool = True) -> list[str]:
        """Say that there are none, and why."""
        return [f"not decoded: the uid {self.uid()} is unknown"]


@lru_cache(maxsize=64)
def _unknown(uid: int) -> Kind:
    readout_class = type("UnknownReadout", (UnknownReadout,), {"UID": uid, "__slots__": ()})
    return Kind(uid, f"kind {uid}", readout_class, known=False)
