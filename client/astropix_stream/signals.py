"""What a signal does while a command is still being imported."""

import signal


def end_at_once() -> None:
    """Let SIGINT and SIGTERM end the process at once, as the system does it, until a command handles them.

    Python would raise `KeyboardInterrupt` wherever it is, with a traceback, or lose it in a callback of the
    import system. A signal that is ignored, as SIGINT is in a shell's background, stays so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
