"""The command ``astropix-relay``, from its first instruction on."""

from astropix_stream import signals


def main() -> None:
    """Run ``astropix-relay``; the entry point of the package."""
    signals.end_at_once()
    from astropix_daemon import commands  # noqa: PLC0415  (from here on a signal is ours)
    from astropix_relay.command import app  # noqa: PLC0415

    commands.run(app, "astropix-relay")


if __name__ == "__main__":
    main()
