"""Arguments and options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_backend.commands.connection import DEFAULT_FOLDER

# The cloud of a command (`cloud_backend.commands.connection.connect`), and the form of its output.
CloudOption = Annotated[str, typer.Option("--cloud", help="URL of the cloud.", envvar="EDGELOOP_CLOUD")]
TokenOption = Annotated[
    Path | None, typer.Option("--token-file", help="File that holds the admin's token.", show_default=False)
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help=f"Folder of the running cloud; by default {DEFAULT_FOLDER}.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]

# The settings of a cloud, for commands that run it or work on its folder.
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help=f"Folder of the cloud's state; by default {DEFAULT_FOLDER}.", show_default=False
    ),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).")]

# Subjects of commands.
AppArgument = Annotated[str, typer.Argument(metavar="APP", help="Name of the app.")]
NodeArgument = Annotated[str, typer.Argument(help="Name of the node.")]
VersionArgument = Annotated[str, typer.Argument(help="Version of the model.")]
JobArgument = Annotated[str, typer.Argument(help="Id of the job.")]
RolloutArgument = Annotated[str, typer.Argument(help="Id of the rollout; by default the running one.")]
ReasonOption = Annotated[str, typer.Option(help="Reason, for the record.")]
EnrolmentOption = Annotated[
    Path, typer.Option("--out", help="File for the enrolment; readable by its owner only.")
]
LoopbackOption = Annotated[
    bool, typer.Option("--force", help="Enrol although other machines cannot reach the cloud's addresses.")
]

# Training, in the cloud or here.
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(help="Training parameter NAME=VALUE of the app; VALUE is JSON or text. Repeatable."),
]
SeedOption = Annotated[int, typer.Option(help="Random seed of the training.")]
