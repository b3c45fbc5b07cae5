"""The notebook in examples/, executed with a kernel of its own against a relay on loopback."""

import json
import re
import sys

from examples import EXAMPLES
from integration.test_relay import running_relay
from programs import Program

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def outputs(notebook, kind):
    """Return what the cells gave in one format, in order."""
    found = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return ["".join(data[kind]) for data in found if kind in data]


def test_the_live_map_shows_the_hits_that_the_relay_sent(tmp_path, group, port):
    send = (EXAMPLES / "daq.py", "--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
    done = tmp_path / "done.ipynb"
    folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
    with running_relay(group, port) as relay:
        own = {name: str(tmp_path / name) for name in folders}
        environment = own | {"ASTROPIX_URL": relay.publisher.endpoint, "ASTROPIX_UPDATES": "3"}
        with (
            Program(sys.executable, *send, "--rate", 200),
            Program(
                sys.executable, "-c", EXECUTE, EXAMPLES / "live_map.ipynb", done, env=environment
            ) as notebook,
        ):
            assert notebook.wait(90) == 0, notebook
    notebook = json.loads(done.read_text())
    assert len(outputs(notebook, "image/png")) == 1
    (ledger,) = outputs(notebook, "text/html")
    assert int(re.search(r"nothing lost of (\d+) readouts", ledger)[1]) > 100
    hits = re.search(r"(\d+) hits in (\d+) readouts", done.read_text())
    assert int(hits[1]) > 100
    assert int(hits[2]) > 100
