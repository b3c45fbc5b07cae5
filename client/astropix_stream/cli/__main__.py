"""``python -m astropix_stream.cli``: the command ``apx`` where its script is not on the path."""

from astropix_stream.cli import main

main()
