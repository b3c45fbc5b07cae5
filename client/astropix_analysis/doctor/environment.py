"""What surrounds the program: a container's network, and a second package of the same name. Pure."""

from astropix_analysis import distributions
from astropix_analysis.doctor.path import Link
from astropix_analysis.doctor.verdict import Fault, Verdict, fine

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
TWO_PACKAGES = Fault(
    "two-packages",
    f"{distributions.PUBLIC} {{version}} is installed in the same environment as {distributions.OURS}",
    "Both distributions bring a module of the same name, and the files of one have overwritten the other's.",
    "keep one of the two in this environment, then install it anew",
    f"pip uninstall {distributions.PUBLIC} {distributions.OURS}\npip install {distributions.OURS}",
)

FAULTS = (CONTAINER, TWO_PACKAGES)


def judge_container(kind: str | None, link: Link | None, *, is_suspect: bool) -> Verdict | None:
    """Judge whether a container keeps multicast out; silent outside of one.

    `is_suspect`: nothing arrives, and nothing else explains it. The marks of a container alone are no proof,
    since images leave them on virtual machines too.
    """
    if kind is None or link is None or link.driver != "veth" or not is_suspect:
        return None
    case = kind if kind in ("podman", "kubernetes") else "docker"
    return CONTAINER.found("container", case=case, kind=kind, interface=link.name)


def judge_packages(public_version: str | None) -> Verdict:
    """Judge whether the public package shares this environment; None: it does not."""
    if public_version is None:
        return fine("packages", f"{distributions.OURS} alone provides astropix_analysis")
    return TWO_PACKAGES.found("packages", version=public_version)
