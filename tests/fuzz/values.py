"""Targets without sockets: each takes an example, and raises where something is wrong.

Any bytes from outside give a value or one of the library's errors; what is accepted is kept byte for byte,
and what is counted adds up.
"""

import json
from pathlib import Path

from hypothesis import strategies as st

from astropix_bridge import model as bridge_model
from astropix_relay.clients.archive import answer_request
from astropix_relay.configuration.consistency import warnings
from astropix_relay.configuration.loading import differences, load_config
from astropix_relay.core import StreamCore
from astropix_relay.history import History
from astropix_stream import links, wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.subscription import Subscription
from drains import drain
from fuzz.mutations import EDGES, Target, edits, mutated

ROOT = Path(__file__).parents[2]
RELAY_ID = 7
SOURCES = [Source("10.0.1.1", 40000), Source("10.0.1.1", 40001), Source("fd00::1", 1)]
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
ids = st.integers(0, 40) | u32 | st.sampled_from([n for n in EDGES if n < 2**32])
times = st.integers(0, 10**6) | u64
seconds = st.sampled_from([0.0, 0.001, 0.2, 1.1, 5.0, 60.0, 3600.0])
steps_ns = seconds.map(lambda s: int(s * 1e9)) | st.sampled_from([-3600 * 10**9, 3600 * 10**9])


@st.composite
def readouts(draw):
    data = draw(st.binary(max_size=60) | st.sampled_from([b"", bytes(100), b"\xbc" * 9]))
    return AstroPix4Readout(data, draw(ids), draw(times)).to_bytes()


class Time:
    """Both clocks; the wall clock may be set."""

    def __init__(self):
        self.s, self.ns = 100.0, 1_700_000_000 * 10**9

    def pass_by(self, passed_s, stepped_ns=None):
        self.s += passed_s
        self.ns = max(0, self.ns + (int(passed_s * 1e9) if stepped_ns is None else stepped_ns))
        return Moment(self.s, self.ns)


def new_core(history=None):
    core = StreamCore("astropix", RELAY_ID, history=history, history_port=5557)
    core.membership(True, "")
    return core


# Datagrams, through a relay and to its subscriber.

datagrams = mutated(readouts()) | st.binary(max_size=70)
drained = st.lists(st.tuples(datagrams, st.sampled_from(SOURCES)), max_size=12)
drops = st.none() | st.integers(0, 5) | st.sampled_from([2**31, 2**32 - 1])
arrivals = st.lists(st.tuples(drained, drops, seconds, st.none() | steps_ns), max_size=12)


def take_datagrams(arrived):
    history = History(160 << 10)
    core, client, time = new_core(history), Subscription("astropix"), Time()
    accepted, got, count = [], [], 0
    client.take(core.beat(time.pass_by(0)), time.pass_by(0))
    for some, dropped, passed_s, stepped_ns in arrived:
        now = time.pass_by(passed_s, stepped_ns)
        count += len(some)
        told = () if dropped is None else (dropped,) * len(some)
        gave = drain(*(data for data, _ in some), sources=[source for _, source in some], drops=told)
        for message in core.take(gave, now):
            for batch in client.take(message, now):
                got += batch.datagrams()
        accepted += [(source, data) for data, source in some if is_readout(data)]
        if (beat := core.tick(now)) is not None:
            client.take(beat, now)
        client.tick(now)
    now = time.pass_by(0)
    report = core.report(now)
    json.loads(wire.pack_json(report))
    assert core.sequence == len(accepted) == len(got)
    assert sorted(got) == sorted(data for _, data in accepted)
    assert sum(report["rejected"].values()) == count - len(accepted)
    ledger = client.ledger()
    assert ledger.lost_at.get(Place.RELAY_TO_CLIENT, 0) == 0
    str(ledger), json.dumps(ledger.to_json())
    page = history.page(history.oldest, history.next)
    kept = [
        data for header, payload in wire.walk_page(bytes(page.records)) for data in split(header, payload)
    ]
    assert kept == got


def is_readout(data):
    """Whether docs/protocol.md calls it one: begin, and length."""
    return (
        data[:3] == b"\xfe\xdc\xba"
        and len(data) >= 19
        and int.from_bytes(data[15:19], "little") == len(data) - 19
    )


def split(header, payload):
    ends = wire.walk_payload(payload, header.count)[2]
    return [payload[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


# A relay's messages and answers, to a subscription.

NO_PAGE = wire.pack_answer(wire.Answer(wire.AnswerStatus.OK, 1, RELAY_ID))
valid_frames = st.sampled_from([b"apx/astropix/data", b"apx/astropix/beat", b"apx/other/data", b"apx/hello"])
moves = st.one_of(
    st.tuples(st.just("next"), st.integers(1, 3)),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("beat"), st.none()),
    st.tuples(st.just("hello"), st.none()),
    st.tuples(st.just("restart"), u64),
    st.tuples(st.just("few"), st.integers(1, 3)),
    st.tuples(st.just("wrong"), st.tuples(st.integers(0, 2), st.lists(edits, max_size=3))),
    st.tuples(st.just("junk"), st.lists(st.binary(max_size=60) | valid_frames, max_size=4)),
    st.tuples(st.just("answer"), st.tuples(st.integers(0, 1), st.lists(edits, max_size=3))),
    st.tuples(
        st.just("answer junk"),
        st.lists(
            mutated(st.just(wire.pack_answer(wire.Answer(wire.AnswerStatus.OK, 1, RELAY_ID)))), max_size=3
        ),
    ),
    st.tuples(st.just("wait"), seconds),
)
sessions = st.lists(moves, max_size=30)


class Session:
    """A relay and its subscriber; what travels between them may be changed on its way."""

    def __init__(self):
        self.time = Time()
        self.history = History(160 << 10)
        self.core = new_core(self.history)
        self.client = Subscription("astropix")
        self.delivered = 0
        self.next_id = 0

    @property
    def now(self):
        return self.time.pass_by(0)

    def publish(self, count):
        some = [AstroPix4Readout(b"\xbc", self.next_id + i, 1000 + i).to_bytes() for i in range(count)]
        self.next_id += count
        messages = self.core.take(drain(*some), self.now)
        self.core.settle()
        return messages

    def hello(self):
        return [wire.pack_hello(wire.Hello(self.core.relay_id, "0", {"astropix": 4000}, 5557))]

    def give(self, frames):
        self.delivered += sum(map(len, self.client.take(frames, self.now)))

    def change(self, frames, which, some):
        frames = [bytes(frame) for frame in frames]
        which %= len(frames)
        for edit in some:
            frames[which] = edit.apply(frames[which])
        return frames

    def answer(self, which, some):
        request = self.client.request(self.now)
        if request is not None:
            answer, page = answer_request([request], self.core.relay_id, {"astropix": self.history})
            frames = self.change([wire.pack_answer(answer), page], which, some)
            self.delivered += sum(map(len, self.client.take_answer(frames, self.now)))

    def move(self, what, how):
        if what in ("next", "lose", "few"):
            for message in self.publish(how):
                few = self.client.take_few(message, *self.now) if what == "few" else 0
                self.delivered += few
                if what != "lose" and not few:
                    self.give(message)
        elif what == "beat":
            self.give(self.core.beat(self.now))
        elif what == "hello":
            self.give(self.hello())
        elif what == "restart":
            self.core = new_core(self.history)
            self.core.relay_id = how
        elif what == "wrong":
            self.give(self.change([*self.publish(1)[0]], *how))
        elif what == "junk":
            self.give(how)
        elif what == "answer":
            self.answer(*how)
        elif what == "answer junk":
            self.client.request(self.now)
            self.delivered += sum(map(len, self.client.take_answer(how, self.now)))
        else:
            self.time.pass_by(how)
            self.delivered += sum(map(len, self.client.tick(self.now)))


def take_messages(session):
    scene = Session()
    for what, how in session:
        scene.move(what, how)
        scene.client.settle()
        ledger = scene.client.ledger()
        # Whether readouts that come again are duplicates or begin a run, what follows them shows.
        undecided = scene.client._account.readouts.totals().undecided
        assert ledger.delivered + ledger.duplicates + ledger.late + undecided == scene.delivered
        assert ledger.lost >= 0
        json.dumps(ledger.to_json())
        str(ledger)


# Requests of history.

kinds = st.sampled_from([*wire.Ask])
requests = st.builds(
    lambda *of: wire.pack_request(wire.Request(*of)),
    kinds, u32, st.sampled_from([0, RELAY_ID, 8]), times, times, st.sampled_from(["astropix", "other"]),
)  # fmt: skip
questions = st.lists(mutated(requests) | st.binary(max_size=120), max_size=3)


def _filled():
    history = History(160 << 10)
    core = new_core(history)
    for number in range(3000):
        core.take(
            drain(AstroPix4Readout(bytes(100), number, number).to_bytes()),
            Moment(number / 1e3, number * 10**6),
        )
    core.settle()
    return history


HISTORY = _filled()


def answer(frames):
    told, body = answer_request(frames, RELAY_ID, {"astropix": HISTORY})
    parsed = wire.parse_answer(wire.pack_answer(told))
    assert len(body) <= wire.MAX_PAGE
    if parsed.status == wire.AnswerStatus.OK:
        page = [*wire.walk_page(links.decompress(bytes(body)) if parsed.flags & wire.ZSTD else bytes(body))]
        assert all(parsed.begin <= header.sequence < parsed.end for header, _ in page)
        # An empty page begins and ends where the range does, wherever that is.
        assert (
            parsed.oldest <= parsed.begin < parsed.end <= parsed.next if page else parsed.begin == parsed.end
        )
    else:
        bytes(body).decode("ascii")


# Configurations.

TEXTS = {
    name: "\n".join(
        line
        for line in (ROOT / f"config/{name}.yaml").read_text().splitlines()
        if line.strip()[:1] not in ("#", "")
    )
    for name in ("relay", "bridge")
}
WORDS = [
    *("[]", "{}", "null", "~", "- ", ": ", "true", "-1", "1e400", ".nan", "0x10", "8MiB", "-5s", "*", "&a "),
    *("*a", "!!python/x ", "<<: ", "'", '"', "|\n", "\t", "\n", "\0", "\u2028", "\ufeff", "9" * 400),
    *(
        "tcp://*:5556",
        "ipc:///x",
        "eth0",
        "239.1.1.1",
        "ff15::1",
        "streams:",
        "publish:",
        "from:",
        "outputs:",
    ),
    *("security:", "multicast:", "memory_budget:", "endpoint:"),
]
changes = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 8), st.sampled_from(WORDS) | st.text(max_size=4)),
    max_size=5,
)


def configure(drawn):
    """Load what was changed; it is a configuration or each of its mistakes is told."""
    name, some = drawn
    text = TEXTS[name]
    for at, size, words in some:
        begin = at * (len(text) + 1) >> 16
        text = text[:begin] + words + text[begin + size :]
    try:
        if name == "bridge":
            bridge_model.load_config(text)
            return
        config = load_config(text)
    except ConfigError as error:
        if not str(error):
            raise AssertionError("a mistake without words") from None
        return
    warnings(config)
    shipped = load_config(TEXTS[name])
    differences(shipped, config)
    differences(config, shipped)


TARGETS = {
    "datagrams": Target(arrivals, take_datagrams),
    "relay messages and history answers": Target(sessions, take_messages),
    "history requests": Target(questions, answer),
    "configuration": Target(st.tuples(st.sampled_from(["relay", "bridge"]), changes), configure),
}
