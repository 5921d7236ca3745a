"""``edgeloop data``: public data sets, by the cards in ``datasets/``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cloud_backend.commands import cards
from cloud_backend.commands.options import JsonOption
from cloud_backend.commands.output import print_facts, print_rows
from common.errors import DatasetError

app = typer.Typer(help="Public data sets.", no_args_is_help=True)


@app.command("ls")
def list_sets(json: JsonOption = False) -> None:
    """List the data sets that have a card, and where a copy lies."""
    rows = []
    for card in cards.read_cards().values():
        found = cards.find(card, cards.homes_of(card, os.environ, cards.cache_folder()))
        rows.append(
            {
                "name": card.name,
                "title": card.title,
                "licence": card.licence,
                "path": str(found) if found else "",
            }
        )
    print_rows(rows, ("name", "title", "licence", "path"), json=json, title="Data sets")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of the data set.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for it; a copy that is already on disk is used where it lies.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find a data set on disk, or download it from its publisher; every file is checked by its digest."""
    known = cards.read_cards()
    if name not in known:
        raise DatasetError(f"there is no card for {name!r}; known: {', '.join(sorted(known)) or 'none'}")
    card = known[name]
    homes = [out] if out is not None else cards.homes_of(card, os.environ, cards.cache_folder())
    home = cards.find(card, homes)
    if home is None:
        home = homes[-1]
        cards.obtain(card, home, cards.download)
    cards.check(card, home)
    facts = {"name": card.name, "path": str(home), "files": [file.name for file in card.files]}
    print_facts(facts | {"licence": card.licence, "citation": card.citation}, json=json)
