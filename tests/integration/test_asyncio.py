"""Receivers in an event loop: real sockets, a real relay, and other tasks that run meanwhile."""

import asyncio
import time

import pytest

from astropix_stream.errors import ClosedError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.receiving import awaiting
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastReceiver
from integration.test_relay import running_relay

LO = "127.0.0.1"


def readouts(count, first=0):
    return [AstroPix4Readout(b"\x01", first + i) for i in range(count)]


@pytest.fixture(params=["multicast", "relay", "merged"])
def receiver(request, group, port, sender):
    multicast = f"udp://{group}:{port}?interface={LO}"
    if request.param == "multicast":
        with MulticastReceiver(AstroPix4Readout, group, port, interface=LO, timeout=5) as opened:
            yield opened
        return
    with running_relay(group, port) as relay:
        endpoint = relay.publisher.endpoint
        urls = [multicast, endpoint] if request.param == "merged" else endpoint
        with open_receiver(AstroPix4Readout, urls, timeout=5) as opened:
            for one in getattr(opened, "receivers", [opened]):
                if isinstance(one, RelayReceiver):
                    one.wait_ready(10)
            yield opened


def test_all_come_in_order_while_other_tasks_run(receiver, sender):
    async def send():
        for readout in readouts(500):
            sender.send_readout(readout)
            await asyncio.sleep(0.0005)

    async def count():
        turns = 0
        while True:
            turns += 1
            await asyncio.sleep(0.001)
            if turns == 10**6:
                return turns

    async def main():
        others = [asyncio.create_task(send()), asyncio.create_task(count())]
        got = []
        async for readout in receiver:
            got.append(readout.readout_id)
            if len(got) == 500:
                break
        await others[0]
        assert not others[1].done()
        others[1].cancel()
        return got

    assert asyncio.run(main()) == list(range(500))


def test_what_never_ceases_leaves_others_their_turn(receiver, sender):
    """Even where each call finds something at once."""
    for readout in readouts(3000):
        sender.send_readout(readout)

    async def main():
        turns = 0

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        received = 0
        while received < 3000:
            received += len(await receiver.receive_batch_async())
        task.cancel()
        return turns

    assert asyncio.run(main()) >= 2


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def factory(request):
    """What makes a loop. The first loop of libuv opens a pipe that the process keeps."""
    module = asyncio if request.param == "asyncio" else pytest.importorskip("uvloop")
    module.new_event_loop().close()
    return module.new_event_loop


def test_on_either_loop(factory, group, port, sender):

    async def main():
        got = []
        with MulticastReceiver(AstroPix4Readout, group, port, interface=LO, timeout=5) as receiver:
            asyncio.get_running_loop().call_later(
                0.05, lambda: [sender.send_readout(readout) for readout in readouts(100)]
            )
            async for readout in receiver:
                got.append(readout.readout_id)
                if len(got) == 100:
                    return got

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == list(range(100))


def test_a_timeout_is_that_of_the_blocking_way(receiver):
    async def main():
        begin_s = time.monotonic()
        with pytest.raises(ReceiveTimeout, match="in time"):
            await receiver.receive_async(timeout=0.2)
        assert 0.15 < time.monotonic() - begin_s < 3
        with pytest.raises(ReceiveTimeout):
            await receiver.receive_batch_async(timeout=0.0)

    asyncio.run(main())


def test_a_cancelled_task_loses_nothing(receiver, sender):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await receiver.receive_async()
        for readout in readouts(10):
            sender.send_readout(readout)
        got = []
        while len(got) < 10:
            task = asyncio.create_task(receiver.receive_async())
            await asyncio.sleep(0)
            if len(got) % 2 and not task.done():
                task.cancel()
            try:
                got.append((await task).readout_id)
            except asyncio.CancelledError:
                got.append((await receiver.receive_async()).readout_id)
        return got

    assert asyncio.run(main()) == list(range(10))


def test_a_closed_receiver_says_so(receiver):
    receiver.close()

    async def main():
        with pytest.raises(ClosedError):
            await receiver.receive_async()
        assert [readout async for readout in receiver] == []

    asyncio.run(main())


def test_a_loop_that_takes_no_descriptors_waits_in_a_thread(group, port, sender, monkeypatch):
    """As the proactor loop of Windows."""

    def refuse(*_):
        raise NotImplementedError

    async def main():
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
        with MulticastReceiver(AstroPix4Readout, group, port, interface=LO, timeout=5) as receiver:
            task = asyncio.create_task(receiver.receive_async())
            await asyncio.sleep(0.05)
            sender.send_readout(readouts(1)[0])
            assert (await task).readout_id == 0
            with pytest.raises(ReceiveTimeout):
                await receiver.receive_async(timeout=0.05)

    asyncio.run(main())


def test_the_wait_ends_with_its_time(group, port):
    async def main():
        with MulticastReceiver(AstroPix4Readout, group, port, interface=LO) as receiver:
            begin_s = time.monotonic()
            await awaiting.readable([receiver.fileno()], 0.1)
            assert 0.05 < time.monotonic() - begin_s < 2

    asyncio.run(main())
