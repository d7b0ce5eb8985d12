"""DSNs and ``PG*`` variables: check a DSN, and turn each of the two into the other."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kit.errors import KitError

EXAMPLE = "postgresql://user:password@host:5432/database"

# The parameters of a DSN, each with the variable that asyncpg and libpq read for it.
_PARAMETERS = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
DSNS = ("PGDSN", "PGQUEUER_DSN")  # `pgq` prefers these to all others
_OTHERS = """
PGAPPNAME PGCHANNELBINDING PGCLIENTENCODING PGCONNECT_TIMEOUT PGDATESTYLE PGGEQO PGGSSDELEGATION PGGSSENCMODE
PGHOSTADDR PGLOADBALANCEHOSTS PGLOCALEDIR PGMAXPROTOCOLVERSION PGMINPROTOCOLVERSION PGOPTIONS PGREQUIREAUTH
PGREQUIREPEER PGREQUIRESSL PGSERVICEFILE PGSSLCERTMODE PGSSLCOMPRESSION PGSSLCRLDIR PGSSLSNI PGSYSCONFDIR PGTZ
"""
# All variables that change where or how asyncpg, libpq and `pgq` connect.
VARIABLES = frozenset((*_PARAMETERS.values(), *DSNS, *_OTHERS.split()))
# asyncpg's defaults, where neither a DSN nor a variable says otherwise.
DEFAULTS = {
    "PGSSLMODE": "prefer",
    "PGSSLNEGOTIATION": "postgres",
    "PGTARGETSESSIONATTRS": "any",
    "PGGSSLIB": "sspi" if sys.platform == "win32" else "gssapi",
}


def check(dsn: object, named_by: str) -> str:
    """Return ``dsn``, if it can be one, with SQLAlchemy's form turned into libpq's.

    Raises:
        KitError: it cannot. The message names ``named_by``, its origin, and shows no part of a password.
    """
    like = f'Write it like "{EXAMPLE}".'
    if not isinstance(dsn, str):
        raise KitError(f"{named_by} is {type(dsn).__name__}, and a DSN is a text. {like}")
    scheme, separator, _ = dsn.partition("://")
    if separator and re.fullmatch(r"postgres(ql)?\+\w+", scheme):
        return check(_of_sqlalchemy(dsn), named_by)
    if not separator or scheme not in ("postgresql", "postgres"):
        begins = (
            f"it begins with {scheme + '://'!r}"
            if separator and re.fullmatch(r"[a-z][a-z0-9+]*", scheme)  # else it may be part of a login
            else "it does not begin with 'postgresql://'"
        )
        raise KitError(f"{named_by} is not the DSN of a PostgreSQL: {begins}. {like}")
    try:
        found = variables(dsn)
        for each in found.get("PGHOST", "").split(","):
            if ":" in each and not each.startswith("/"):
                ipaddress.ip_address(each.partition("%")[0])
    except ValueError as error:
        reason = re.sub(r"//.*@", "//…@", str(error))
        raise KitError(f"{named_by} names an address that cannot be one: {reason}. {like}") from None
    for port in filter(None, found.get("PGPORT", "").split(",")):
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise KitError(f"{named_by} names the port {port!r}; a port is a number from 1 to 65535. {like}")
    return dsn


def _of_sqlalchemy(url: str) -> str:
    """Return an address such as ``postgresql+asyncpg://h/x?ssl=require`` in the form of libpq."""
    address, _, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    named = [("sslmode" if key == "ssl" else key, value) for key, value in parse_qsl(query)]
    known = [(key, value) for key, value in named if key in _PARAMETERS]
    return f"{scheme.partition('+')[0]}://{rest}" + (f"?{urlencode(known, quote_via=quote)}" if known else "")


def variables(dsn: str) -> dict[str, str]:
    """Return the ``PG*`` variables with which ``asyncpg.connect()`` connects as it does with ``dsn``."""
    parts = urlsplit(dsn)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    names, ports = [], []
    for each in filter(None, hosts.split(",")):
        name, colon, port = each.rpartition(":")
        bare = each.endswith("]") or not colon  # an IPv6 address without a port ends with a bracket
        names.append(unquote(each if bare else name).strip("[]"))
        ports.append("5432" if bare else port)
    found = {
        "PGHOST": ",".join(names),
        "PGPORT": ",".join(ports),
        "PGUSER": unquote(user),
        "PGPASSWORD": unquote(password),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
    }
    asked = {_PARAMETERS[key]: value for key, value in parse_qsl(parts.query) if key in _PARAMETERS}
    return {name: value for name, value in (asked | {k: v for k, v in found.items() if v}).items() if value}


def from_variables(environment: Mapping[str, str]) -> str:
    """Return the DSN that means the same as the ``PG*`` variables of ``environment``."""
    names = {variable: key for key, variable in reversed(_PARAMETERS.items()) if variable != "PGDATABASE"}
    parameters = [
        (key, environment[variable]) for variable, key in names.items() if environment.get(variable)
    ]
    database = quote(environment.get("PGDATABASE", ""), safe="")
    return f"postgresql:///{database}?{urlencode(parameters, quote_via=quote)}"


def complete(dsn: str, environment: Mapping[str, str]) -> str:
    """Return ``dsn`` with every parameter that it leaves to the ``PG*`` variables of ``environment``.

    It then means the same when those variables change.
    """
    parts = urlsplit(dsn)
    login, at, hosts = parts.netloc.rpartition("@")
    port = environment.get("PGPORT", "5432")
    if hosts and "," not in port:
        hosts = ",".join(
            each if re.search(r":\d+$", each.rpartition("]")[2]) else f"{each}:{port}"
            for each in hosts.split(",")
        )
    names = {variable: key for key, variable in reversed(_PARAMETERS.items())}
    left = [
        (names[each], environment[each])
        for each in sorted(names.keys() - variables(dsn).keys())
        if environment.get(each)
    ]
    query = urlencode(parse_qsl(parts.query) + left, quote_via=quote)
    return f"{parts.scheme}://{login}{at}{hosts}{parts.path or '/'}" + (f"?{query}" if query else "")


def beside(dsn: str, database: str) -> str:
    """Return ``dsn`` with the name of another database."""
    parts = urlsplit(dsn)
    query = urlencode(
        [(key, value) for key, value in parse_qsl(parts.query) if key not in ("dbname", "database")],
        quote_via=quote,
    )
    # urlunsplit would drop the slashes before an empty host
    return f"{parts.scheme}://{parts.netloc}/{quote(database, safe='')}" + (f"?{query}" if query else "")


def shown(dsn: str) -> str:
    """Return the host and port of ``dsn``, for a message: without the password."""
    named = variables(dsn)
    host, port = named.get("PGHOST", "the default host"), named.get("PGPORT")
    return f"{host}:{port}" if port else host
