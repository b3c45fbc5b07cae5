"""Which distributions are installed beside ours, and whose `astropix_analysis` this Python would import.

The public astropix-analysis package owns that import name. The wheel brings the documented names
(``astropix_analysis.sock``, ``.fmt``, ``.fileio``, ``.relay``) in a folder of its own at the end of
``sys.path``, so that they serve only where the public package is absent.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from os.path import dirname, join, realpath

OURS, OLD, PUBLIC = "astropix-stream", "astropix-relay", "astropix-analysis"
NAME = "astropix_analysis"
DOCUMENTED_NAMES = join(dirname(realpath(__file__)), "documented_names")

# `astropix_relay` belongs to both, so that uninstalling the old one alone would break the new one.
CURE = f"pip uninstall --yes {OLD} {OURS}, then install {OURS} again"


def foreign_spec() -> ModuleSpec | None:
    """Find an `astropix_analysis` that is not ours, wherever on this Python's path it is."""
    elsewhere = [entry for entry in sys.path if realpath(entry) != DOCUMENTED_NAMES]
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        if finder is PathFinder:
            spec = PathFinder.find_spec(NAME, elsewhere)
        else:  # an editable install brings a finder of its own
            spec = find_spec(NAME, None) if find_spec is not None else None
        # A folder of this name without modules is no package; and our own may be on the path in another way.
        if spec is not None and spec.origin and dirname(dirname(realpath(spec.origin))) != DOCUMENTED_NAMES:
            return spec
    return None


def imported_as() -> str:
    """Say in a few words whose `astropix_analysis` this Python would import."""
    spec = foreign_spec()
    if spec is not None:
        version = _version(PUBLIC)
        package = f"{PUBLIC} {version}" if version else "not ours"
        return f"{package} ({dirname(spec.origin or '')})"
    if any(realpath(entry) == DOCUMENTED_NAMES for entry in sys.path):
        return f"the documented names of {OURS}"
    return "none"


def conflict() -> str | None:
    """Say what is wrong where the distribution that 0.1 was is still installed; None when all is well."""
    version = _version(OLD)
    if version is None:
        return None
    return f"{OLD} {version} is installed beside {OURS}, which has replaced it: {CURE}"


def _version(distribution: str) -> str | None:
    from importlib import metadata  # noqa: PLC0415  (30 ms)

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
