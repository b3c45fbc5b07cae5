"""Tell when the public astropix-analysis package is installed beside ours: both bring `astropix_analysis`."""

from importlib import metadata

OURS, PUBLIC = "astropix-relay", "astropix-analysis"


def public_version() -> str | None:
    """Return the version of the public package in this environment; None where it is not."""
    try:
        return metadata.version(PUBLIC)
    except metadata.PackageNotFoundError:
        return None


def clash() -> str | None:
    """Return a warning when both distributions are in this environment; None when all is well."""
    version = public_version()
    if version is None:
        return None
    return (
        f"{PUBLIC} {version} is installed in the same environment as {OURS}; both provide the module "
        f"astropix_analysis, and which one is imported is chance: keep one (pip uninstall {PUBLIC})"
    )
