"""The extra ``lab``: JupyterLab and the pictures, which the base install lacks, and how to add them."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import metadata
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kit.errors import KitError

DISTRIBUTION = "pgqueuer-kit"


def need(module: str, what: str) -> None:
    """Check that ``module`` is installed for ``what``. It is not imported, which may take seconds.

    Raises:
        KitError: it is not; the message has the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise KitError(
            f"{what} needs the package {module!r}, which this Python does not have. "
            f"Run `{command()}`, and start Python or the notebook's kernel again."
        )


def requirement() -> str:
    """Return the requirement that installs the kit with all that the lessons need, from its own origin."""
    origin = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    if "dir_info" in origin:
        return f"{url2pathname(urlsplit(origin['url']).path)}[lab]"
    where = f" @ {origin['url']}" if origin else f"=={metadata.version(DISTRIBUTION)}"
    return f"{DISTRIBUTION}[lab]{where}"


def command(python: str = sys.executable) -> str:
    """Return the command that installs the kit with all that the lessons need, for a Python like this one."""
    wanted = requirement()
    editable = "" if wanted.startswith(DISTRIBUTION) else "-e "
    has_pip = importlib.util.find_spec("pip") is not None
    install = f"{python} -m pip install" if has_pip else f"uv pip install --python {python}"
    return f'{install} {editable}"{wanted}"'
