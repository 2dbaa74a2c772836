"""``apikey-guard keys``: make, list and revoke the keys of a key file."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from apikey_guard.cli import keys_serve
from apikey_guard.cli.arguments import Commands, add_command, line_from_stdin
from apikey_guard.cli.console import Console
from apikey_guard.diagnosis.words import printable
from apikey_guard.keyservice.keyfile.edit import DEFAULT_PREFIX, create_key, list_keys, revoke_key
from apikey_guard.keyservice.keyfile.records import KeyEntry, KeyState

_FILE_VARIABLE: Final = "APIKEY_GUARD_KEYS_FILE"
_DEFAULT_FILE: Final = "keys.toml"
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HEADING: Final = ("id", "state", "username", "scopes", "created", "expires", "fingerprint")


def add_to(commands: Commands[argparse.ArgumentParser]) -> None:
    """Declare ``keys`` and the commands below it."""
    parser = commands.add_parser(
        "keys",
        help="make, list, revoke and serve the keys of a key file",
        description="Keys in a local TOML file that holds only their hashes.",
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    below = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_create(below)
    _add_list(below)
    _add_revoke(below)
    _add_file(keys_serve.add_to(below))


def _add_create(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "create",
        _create,
        summary="make a new key, print it once and store its hash",
        description="The key alone goes to standard output, so that it can be piped.",
        examples="apikey-guard keys create acme --scope read --scope write --expires 90d",
    )
    parser.add_argument("username", help="the consumer that the key is for")
    parser.add_argument("--id", metavar="ID", help="the consumer's id, sent on as X-Consumer-ID")
    parser.add_argument("--custom-id", metavar="ID", help="the consumer's id in another system")
    parser.add_argument(
        "--scope", action="append", default=[], help="what the key may be used for; repeatable"
    )
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        type=_moment,
        help="when the key ends: 30m, 12h, 90d, 4w, or a date like 2027-01-31 (UTC)",
    )
    parser.add_argument(
        "--prefix", default=DEFAULT_PREFIX, help="what the key starts with (default: %(default)s)"
    )
    _add_file(parser)
    _add_json(parser)


def _add_list(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "list",
        _list,
        summary="list all keys: ids, states and owners, never the keys",
        description=f"Piped, each line is tab-separated: {', '.join(_HEADING)}.",
        examples="apikey-guard keys list\napikey-guard keys list | grep active | cut -f 3",
    )
    _add_file(parser)
    _add_json(parser)


def _add_revoke(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "revoke",
        _revoke,
        summary="revoke a key, or all keys of a consumer",
        description="A guard that remembers the key lets it in until its cache_ttl ends.",
        examples="apikey-guard keys revoke acme\napikey-guard keys revoke key_0123456789abcdef",
    )
    parser.add_argument(
        "identifier",
        metavar="KEY",
        help="the id of a key, a username, 12 or more digits of a fingerprint, the key itself; "
        "- reads it from standard input",
    )
    _add_file(parser)
    _add_json(parser)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file",
        metavar="FILE",
        default=os.environ.get(_FILE_VARIABLE) or _DEFAULT_FILE,
        help=f"the key file (default: {_FILE_VARIABLE}, else {_DEFAULT_FILE})",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _create(options: argparse.Namespace, console: Console) -> int:
    is_new = not Path(options.file).exists()
    made = create_key(
        options.file,
        username=options.username,
        consumer_id=options.id,
        custom_id=options.custom_id,
        scopes=options.scope,
        expires=options.expires,
        prefix=options.prefix,
    )
    if options.json:
        written = {"key": made.key, "id": made.credential_id, "username": options.username}
        written |= {"scopes": options.scope, "expires": _written(options.expires), "file": options.file}
        console.say(json.dumps(written))
        return 0
    where = f"the new file {options.file}" if is_new else options.file
    console.hint(
        f"made {made.credential_id} for {printable(options.username)} in {where}; its key, shown only now:"
    )
    console.say(made.key)
    return 0


def _list(options: argparse.Namespace, console: Console) -> int:
    entries = list_keys(options.file)
    now = time.time()
    if options.json:
        console.say(json.dumps([_described(entry, now) for entry in entries], indent=2))
    elif entries:
        console.table([_row(entry, now) for entry in entries], heading=_HEADING)
    else:
        console.hint(f"there are no keys in {options.file}")
    return 0


def _revoke(options: argparse.Namespace, console: Console) -> int:
    identifier = line_from_stdin() if options.identifier == "-" else options.identifier
    done = revoke_key(options.file, identifier)
    if options.json:
        console.say(json.dumps({"revoked": done.revoked, "already_revoked": done.already}))
        return 0
    for name in done.revoked:
        console.say(f"revoked {printable(name)}")
    for name in done.already:
        console.say(f"already revoked {printable(name)}")
    return 0


def _row(entry: KeyEntry, now: float) -> tuple[str, ...]:
    state = entry.state(now)
    shown = state.value
    if state is KeyState.REVOKED and isinstance(entry.revoked, datetime):
        shown = f"{state} {entry.revoked:%Y-%m-%d}"
    dates = (f"{date:%Y-%m-%d}" if date else "" for date in (entry.created, entry.expires))
    scopes = ",".join(sorted(entry.consumer.scopes))
    cells = (entry.credential_id, shown, entry.consumer.username or "", scopes, *dates, entry.fingerprint)
    return tuple(map(printable, cells))


def _described(entry: KeyEntry, now: float) -> dict[str, object]:
    consumer = entry.consumer
    revoked = entry.revoked
    return {
        "id": entry.credential_id,
        "state": entry.state(now).value,
        "consumer": {"id": consumer.id, "username": consumer.username, "custom_id": consumer.custom_id},
        "scopes": sorted(consumer.scopes),
        "created": _written(entry.created),
        "expires": _written(entry.expires),
        "revoked": revoked if isinstance(revoked, bool) else _written(revoked),
        "fingerprint": entry.fingerprint,
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    """A date, or a span from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            moment = now + timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            "write a span like 30m, 12h, 90d or 4w, or a date like 2027-01-31"
        ) from None
    if moment <= now:
        raise argparse.ArgumentTypeError("lies in the past")
    return moment
