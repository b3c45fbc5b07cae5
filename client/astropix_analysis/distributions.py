"""Tell when the public astropix-analysis package is installed beside ours: both bring `astropix_analysis`."""

from importlib import metadata

OURS, PUBLIC = "astropix-relay", "astropix-analysis"


def clash() -> str | None:
    """Return a warning when both distributions are in this environment; None when all is well."""
    try:
        version = metadata.version(PUBLIC)
    except metadata.PackageNotFoundError:
        return None
    return (
        f"{PUBLIC} {version} is installed in the same environment as {OURS}; both provide the module "
        f"astropix_analysis, and which one is imported is chance: keep one (pip uninstall {PUBLIC})"
    )
