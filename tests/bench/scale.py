"""How much work a run of the benchmarks is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Rounds that alternate what is compared, and the size of each measurement."""

    rounds: int = 3
    few_rounds: int = 2
    """Of what takes long and varies little."""
    seconds: float = 1.0
    """Of traffic in a measurement, once it runs."""
    lone_seconds: float = 1.25
    """Of lone readouts, where percentiles of them are looked at."""
    short_rounds: int = 5
    """Of programs that stay and take turns: what the machine does besides changes within seconds."""
    unjudged_rounds: int = 2
    """Of the same where there is no limit: these are for the picture."""
    short_seconds: float = 0.5
    """Of traffic in a turn of a program that stays; see `turn`."""
    burst: int = 200_000
    """Readouts in each try at the highest rate."""
    other_hz: int = 5_000
    """Up to which rate what people use instead is measured."""
    fast_hz: int = 50_000
    slow_hz: int = 1_000
    lone_hz: int = 200
    subscribers: tuple[int, ...] = (1, 10, 100, 300)
    cpu_rates_hz: tuple[int, ...] = (200, 1_000, 5_000, 20_000, 50_000)
    sizes: tuple[int, ...] = (35, 500, 4_000)
    soak: int = 1_000_000
    """Readouts after which the memory is looked at again."""
    daily_seconds: float = 1.75
    """Of traffic, or of silence, while the part of a core is measured that a program takes."""
    streams: int = 256
    file_bytes: int = 60_000_000
    calls: int = 20_000
    """Of a function that is timed in this process, in one round."""

    def turn(self, rate: float) -> int:
        """Return how many readouts a turn has; at high rates half the time tells as much."""
        return max(2, round(rate * self.short_seconds / (1 if rate <= self.slow_hz else 2)))


FULL = Scale(soak=10_000_000)
NORMAL = Scale()
TINY = Scale(
    rounds=1,
    few_rounds=1,
    seconds=0.1,
    lone_seconds=0.1,
    short_rounds=1,
    unjudged_rounds=1,
    short_seconds=0.1,
    burst=200,
    other_hz=200,
    fast_hz=2_000,
    subscribers=(1, 2),
    cpu_rates_hz=(200, 2_000),
    sizes=(35,),
    soak=200,
    daily_seconds=0.2,
    streams=3,
    file_bytes=100_000,
    calls=20,
)
