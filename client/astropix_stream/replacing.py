"""Replace a file as a whole: who reads it sees the old one or the new one, and no other file is touched."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """Give an empty file beside `path`, which takes its place at the end of the block.

    It has a name that no other file has. If the block raises, it is removed and `path` stays as it is.

    Raises
    ------
    OSError
        It cannot be made there, or cannot take the place of `path`.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None  # nobody knows the draft's name
    os.close(descriptor)
    draft = Path(name)
    try:
        draft.chmod(0o666 & ~_umask())  # as `open` makes files; mkstemp's are for their owner alone
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
