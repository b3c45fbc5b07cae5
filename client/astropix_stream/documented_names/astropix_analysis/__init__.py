"""The documented module paths, where the public astropix-analysis package is absent.

The package itself is `astropix_stream`; the modules here only re-export it. Where the public package is
installed too, but later on the path (ours in the user's site, that one in the system's), it is imported in
place of this one.
"""

import sys
from importlib.util import module_from_spec

from astropix_stream import __version__
from astropix_stream.distributions import foreign_spec

__all__ = ["__version__"]

_spec = foreign_spec()
if _spec is not None and _spec.loader is not None:
    # The import system hands out what stands in sys.modules when this module has run.
    sys.modules[__name__] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[__name__])
