"""The command ``apx``, from its first instruction on."""

from astropix_stream import signals


def main() -> None:
    """Run ``apx``; the entry point of the package."""
    signals.end_at_once()
    from astropix_stream import cli  # noqa: PLC0415  (from here on a signal is ours)

    cli.main()


if __name__ == "__main__":
    main()
