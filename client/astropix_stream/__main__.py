"""The command ``apx``, from its first instruction on."""

import signal


def main() -> None:
    """Run ``apx``; the entry point of the package.

    While the command is still being imported, a signal ends the process at once, as the system does it:
    Python would raise `KeyboardInterrupt` wherever it is, with a traceback, or lose it in a callback.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    from astropix_stream import cli  # noqa: PLC0415

    cli.main()


if __name__ == "__main__":
    main()
