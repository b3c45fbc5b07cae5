"""What surrounds the program: a container's network, and a second package of the same name. Pure."""

from astropix_stream import distributions
from astropix_stream.doctor.path import Link
from astropix_stream.doctor.verdict import Fault, Verdict, fine

CONTAINER = Fault(
    "container",
    "this is a container ({kind}) with a network of its own: {interface} is a veth",
    "A container's own network is a bridge inside the host; multicast of the host's network does not cross "
    "it.",
    "run the container in the host's network, or subscribe to a relay",
    {
        "podman": "podman run --network host …",
        "kubernetes": "kubectl explain pod.spec.hostNetwork",
        "docker": "docker run --network host …",
    },
    blocks=True,
)
OLD_PACKAGE = Fault(
    "old-package",
    f"{distributions.OLD} is installed beside {distributions.OURS}, which has replaced it",
    "Version 0.1 was a distribution of another name, so pip keeps both; files of one overwrite the other's.",
    "uninstall both, then install the new one again",
    f"pip uninstall --yes {distributions.OLD} {distributions.OURS}\npip install {distributions.OURS}",
)

FAULTS = (CONTAINER, OLD_PACKAGE)


def judge_container(kind: str | None, link: Link | None, *, is_suspect: bool) -> Verdict | None:
    """Judge whether a container keeps multicast out; silent outside of one.

    `is_suspect`: nothing arrives, and nothing else explains it. The marks of a container alone are no proof,
    since images leave them on virtual machines too.
    """
    if kind is None or link is None or link.driver != "veth" or not is_suspect:
        return None
    case = kind if kind in ("podman", "kubernetes") else "docker"
    return CONTAINER.found("container", case=case, kind=kind, interface=link.name)


def judge_packages(conflict: str | None, imported_as: str) -> Verdict:
    """Judge whether the distribution that 0.1 was is still installed, and tell whose names are imported."""
    if conflict is not None:
        return OLD_PACKAGE.found("packages")
    return fine("packages", f"import astropix_analysis gives: {imported_as}")
