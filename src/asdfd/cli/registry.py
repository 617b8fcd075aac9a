"""What comes after `asdfd registry`: verbs to look at the registry, to fetch from it, to verify and to clean it."""

from __future__ import annotations

import argparse
import json

from asdfd.base.errors import InputError
from asdfd.base.interruption import StopRequest
from asdfd.cli.live import watching
from asdfd.cli.options import WHICH, Verbs, add_out, add_registry, conclude, opened, read_parameters, tell


def add_verbs(topics: Verbs) -> None:
    """Describe the verbs of this module."""
    verbs = topics.topic("registry", "Look at the registry, fetch from it, verify and clean it.")
    verb = verbs.add(list_, "asdfd registry list --registry s3://models/registry")
    verb.add_argument("name", metavar="NAME", nargs="?", default="", help="model (default: all)")
    add_registry(verb)
    verb = verbs.add(show, "asdfd registry show support-desk@production")
    verb.add_argument("which", metavar="NAME@VERSION", help=WHICH)
    add_registry(verb)
    verb = verbs.add(history, "asdfd registry history support-desk --stage production")
    verb.add_argument("name", metavar="NAME", help="model")
    verb.add_argument("--stage", metavar="STAGE", default="", help="one stage (default: all)")
    add_registry(verb)
    verb = verbs.add(pull, "asdfd registry pull support-desk@production --out model")
    verb.add_argument("which", metavar="NAME@VERSION", help=WHICH)
    add_registry(verb)
    add_out(verb, "version: it holds student, export where there is one, evaluation and verdict")
    verb = verbs.add(verify, "asdfd registry verify")
    verb.add_argument("which", metavar="NAME@VERSION", nargs="?", default="", help=f"{WHICH} (default: all versions, stages and histories)")
    add_registry(verb)
    verb = verbs.add(gc, "asdfd registry gc --keep 10")
    verb.add_argument("--keep", metavar="N", type=int, default=10, help="keep the versions of the last N moves of every stage (default: 10)")
    verb.add_argument("--older-than", metavar="HOURS", type=float, default=24.0, help="touch nothing that is younger; longer than any push lasts (default: 24)")
    verb.add_argument("--yes", action="store_true", help="remove it")
    add_registry(verb)


def list_(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """List models, their versions, and the stages that these hold."""
    from asdfd.cli.presentation import rendered
    from asdfd.cli.registry_tables import versions_table
    from asdfd.registry.listing import summaries

    del stop
    run = read_parameters(arguments)
    rows = summaries(opened(run), arguments.name)
    if arguments.json:
        print(json.dumps({"location": run.registry.location, "versions": rows}))
    elif rows:
        print(rendered(versions_table(rows)), end="")
    else:
        print(f"no version in {run.registry.location}")


def show(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Show all about a version."""
    from asdfd.cli.registry_tables import description_text
    from asdfd.registry.listing import description
    from asdfd.registry.versions import resolve

    del stop
    run = read_parameters(arguments)
    store = opened(run)
    facts = description(store, resolve(store, arguments.which, signed=run.registry.require_signature))
    print(json.dumps(facts) + "\n" if arguments.json else description_text(facts), end="")


def history(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Show every move of a model's stages."""
    from dataclasses import asdict

    from asdfd.cli.presentation import rendered
    from asdfd.cli.registry_tables import history_table
    from asdfd.registry.listing import moves_of

    del stop
    run = read_parameters(arguments)
    moves = [asdict(move) for move in moves_of(opened(run), arguments.name, arguments.stage)]
    if arguments.json:
        print(json.dumps({"name": arguments.name, "moves": moves}))
    else:
        print(rendered(history_table(moves)), end="")


def pull(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Fetch a version and verify every byte."""
    from asdfd.registry.versions import pull as pull_version
    from asdfd.registry.versions import resolve

    run = read_parameters(arguments)
    store = opened(run)
    version = resolve(store, arguments.which, signed=run.registry.require_signature)
    with watching(arguments, stop):
        pull_version(store, version, arguments.out)
    served = arguments.out / ("export" if "export" in version.digests else "student")
    folders = {kind: str(arguments.out / kind) for kind in ("student", "export") if kind in version.digests}
    facts = {"name": version.name, "version": version.version, "path": str(arguments.out), **folders}
    tell(arguments, facts, f"{version.name}@{version.version} is in {arguments.out}; the model that was judged is {served}")


def verify(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Read every byte of a version, or of all, and compare it with the manifest.

    Exit code 2 where something is damaged.
    """
    from asdfd.registry.listing import problems
    from asdfd.registry.versions import resolve
    from asdfd.registry.versions import verify as verify_version

    del stop
    run = read_parameters(arguments)
    store = opened(run)
    if arguments.which:
        version = resolve(store, arguments.which, signed=run.registry.require_signature)
        verify_version(store, version)
        count, found = 1, []
    else:
        count, found = problems(store, signed=run.registry.require_signature)
    if found and not arguments.json:
        print("\n".join(found))
    if found:
        conclude(arguments, {"verified": count, "problems": found}, [f"{len(found)} problems in {store.location}: {found[0]}"], error=InputError)
    tell(arguments, {"verified": count, "problems": []}, f"{count} {'version' if count == 1 else 'versions'} verified, every byte")


def gc(arguments: argparse.Namespace, stop: StopRequest) -> None:
    """Say what can be removed; with --yes, remove it."""
    from asdfd.cli.presentation import rendered
    from asdfd.cli.registry_tables import garbage_table
    from asdfd.registry.collection import find, remove

    del stop
    if arguments.keep < 1 or arguments.older_than < 0:
        raise InputError("gc: --keep is 1 or more, --older-than 0 or more")
    store = opened(read_parameters(arguments))
    limits = {"keep": arguments.keep, "older_than": arguments.older_than * 3600}
    found = find(store, **limits)
    removed, kept = remove(store, found, **limits) if arguments.yes else ([], found)
    if arguments.json:
        as_rows = [{"kind": one.kind, "name": one.name, "version": one.version, "keys": one.keys, "bytes": one.bytes, "reason": one.reason} for one in found]
        print(json.dumps({"location": store.location, "found": as_rows, "removed": len(removed), "kept": len(kept)}))
        return
    if found:
        print(rendered(garbage_table(found)), end="")
    size = f"{sum(one.bytes for one in (removed if arguments.yes else found)) / 1e6:,.2f} MB"
    print(f"removed {len(removed)}, {size}; kept {len(kept)}" if arguments.yes else f"{len(found)} to remove, {size}; nothing was removed, --yes does it")
