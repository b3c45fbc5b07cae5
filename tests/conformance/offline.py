"""Plays a session to a `Subscription`, as conformance/README.md says, without a socket and in no time."""

import struct

from astropix_stream.clock import Moment
from astropix_stream.relay.subscription import Subscription

TICK_S = 0.1
EPOCH_S = 1_753_255_536


def play(scene):
    """Return what a subscriber made of it, in the form of the scene's expectations."""
    client = scene["client"]
    subscription = Subscription(client["stream"], start=client.get("start", "live"))
    delivered, requests, asked = [], [], []
    asleep_until, waiting = 0.0, []
    for at, step in _moments(scene):
        now = Moment(at, int((EPOCH_S + at) * 1e9))
        waiting.append(step)
        if "sleep_until" in step:
            asleep_until = step["sleep_until"]
        if at < asleep_until:
            continue
        for each in waiting:
            delivered += _take(subscription, each, asked, now)
        waiting = []
        delivered += _ids(subscription.tick(now))
        while (request := subscription.request(now)) is not None:
            asked.append(request)
            kind, request_id, relay_id, a, b = struct.unpack_from("<5xB2x4Q", request)
            assert request_id
            requests.append({"at": round(at, 3), "kind": kind, "relay_id": relay_id, "a": a, "b": b})
    ledger = subscription.ledger()
    return {
        "delivered": delivered,
        "lost": {place.key: count for place, count in ledger.lost_at.items()},
        "restarts": ledger.restarts,
        "requests": requests,
    }


def _moments(scene):
    """Iterate over what happens, in order of time, with an empty step for each tick."""
    ticks = [(round(i * TICK_S, 3), 2, {}) for i in range(1, round(scene["end"] / TICK_S) + 1)]
    steps = [(step["at"], 0, step) for step in scene["steps"]]
    answers = [
        (request["answer"]["at"], 1, {"answer": request["answer"]["frames"], "to": number})
        for number, request in enumerate(scene["expect"]["requests"])
        if "answer" in request
    ]
    for at, _, step in sorted([*ticks, *steps, *answers], key=lambda item: item[:2]):
        yield at, step


def _take(subscription, step, asked, now):
    if "send" in step:
        return _ids(subscription.take([bytes.fromhex(part) for part in step["send"]], now))
    if "answer" in step:
        head, page = (bytes.fromhex(part) for part in step["answer"])
        request_id = asked[step["to"]][8:16]
        return _ids(subscription.take_answer([head[:8] + request_id + head[16:], page], now))
    return []


def _ids(batches):
    return [readout_id for batch in batches for readout_id in batch.readout_ids]
