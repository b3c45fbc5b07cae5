"""The command ``astropix-bridge``, from its first instruction on."""

from astropix_stream import signals


def main() -> None:
    """Run ``astropix-bridge``; the entry point of the package."""
    signals.end_at_once()
    from astropix_bridge.command import app  # noqa: PLC0415
    from astropix_daemon import commands  # noqa: PLC0415  (from here on a signal is ours)

    commands.run(app, "astropix-bridge")


if __name__ == "__main__":
    main()
