"""A class on The Littlest JupyterHub. Put this file into /opt/tljh/config/jupyterhub_config.d/.

Before: ``sudo /opt/tljh/user/bin/pip install "pgqueuer-kit[lab]"``; after: ``sudo tljh-config reload hub``.
"""

c = get_config()  # type: ignore[name-defined]  # noqa: F821

BIN = "/opt/tljh/user/bin"
COPY = "from pathlib import Path; from kit.cli import lessons; lessons.update(Path('pgqueuer-lessons'))"
c.Spawner.cmd = ["sh", "-c", f'{BIN}/python -c "{COPY}"; exec {BIN}/jupyterhub-singleuser "$@"', "sh"]
c.Spawner.default_url = "/lab/tree/pgqueuer-lessons/00_start_here.ipynb"
c.Spawner.mem_limit = "1G"  # a learner takes 300 MB
# Where homes are on NFS, which breaks databases, set KIT_HOME as well: to a folder each on a local disk.
c.Spawner.environment.update({"KIT_CLASS": "http://127.0.0.1:8890/services/kit"})
c.JupyterHub.services.append(
    {
        "name": "kit",
        "url": "http://127.0.0.1:8890",
        "command": [f"{BIN}/kit", "class", "start"],
        "environment": {"KIT_HOME": "/var/lib/pgqueuer-kit"},
        "oauth_no_confirm": True,
    }
)
# The board is for admins. A role of the hub lets others in:
# {"name": "teacher", "users": ["ada"], "scopes": ["access:services!service=kit"]}
