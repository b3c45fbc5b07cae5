"""The documentation's site: `make docs` builds it into docs/_build, and a warning is an error."""

import json
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from astropix_relay.configuration.loading import schema
from astropix_stream import __version__

HERE = Path(__file__).parent
CONFIGURATION = HERE / "reference" / "configuration.md"

project = "astropix-stream"
author = "the astropix-stream developers"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"astropix-stream {__version__}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
# Files outside docs/ (README, configuration) are linked as they stand in the repository.
suppress_warnings = ["myst.xref_missing"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def _write_configuration(_: Sphinx) -> None:
    """Write the reference of the relay's configuration from its schema."""
    body = schema()
    lines = [
        "# The relay's configuration",
        "",
        "Made from the schema (`astropix-relay schema`). config/relay.yaml in the repository is the same,",
        "with the reason for each default.",
    ]
    for name, part in body["properties"].items():
        lines += ["", f"## {name}", ""]
        lines += _section(_resolve(part, body), body)
    CONFIGURATION.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _resolve(part: dict, body: dict) -> dict:
    """Follow a reference to a section, also that of a list's items."""
    items = part.get("items", {})
    of_all = next((one["$ref"] for one in part.get("allOf", ())), None)
    reference = part.get("$ref") or items.get("$ref") or of_all
    return body["$defs"][reference.rpartition("/")[2]] if reference else part


def _section(part: dict, body: dict) -> list[str]:
    if "properties" not in part:
        return [f"{part.get('description', '')} Default: `{json.dumps(part.get('default'))}`."]
    rows = ["| key | default | what it is |", "| --- | --- | --- |"]
    for key, about in part["properties"].items():
        default = "" if key in part.get("required", ()) else f"`{json.dumps(about.get('default'))}`"
        description = " ".join(about.get("description", "").split()).replace("|", "\\|")
        rows.append(f"| `{key}` | {default} | {description} |")
    description = part.get("description", "")
    return [*([description, ""] if description else []), *rows]


def setup(app: Sphinx) -> None:
    """Generate pages before the build reads them; protocol.md shows bytes as blocks of `hex`."""
    app.add_lexer("hex", TextLexer)
    app.connect("builder-inited", _write_configuration)
