"""``python -m astropix_analysis.cli``: the command ``apx`` where its script is not on the path."""

from astropix_analysis.cli import main

main()
