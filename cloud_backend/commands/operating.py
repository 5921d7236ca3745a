"""``edgeloop cloud backup``, ``restore``, ``broker-config``, ``settings``: operating a cloud."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from cloud_backend.commands.offline import offline_store, os_user, record_offline
from cloud_backend.commands.options import ConfigOption, DataOption, JsonOption
from cloud_backend.commands.output import print_facts
from cloud_backend.commands.up import app, settings_of
from common.cli import print_object
from common.config.cloud import CloudSettings
from common.config.loader import explain


@app.command()
def backup(
    out: Annotated[Path, typer.Option(help="File to write, or an existing folder for a file with the time.")],
    data: DataOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Back up a cloud, also while it runs: store, update repository, keys, secrets, models, samples and jobs.

    The file holds every key of the cloud; it is readable by its owner only. A PostgreSQL database is not in
    it: dump that one first by pg_dump.
    """
    from cloud_backend.runtime.backup import LEFT_OUT, take_backup

    settings = settings_of(data, config)
    file, manifest = take_backup(
        Path(settings.data), settings.database, out, edgeloop=installed_version("edgeloop")
    )
    if manifest.database != "sqlite":
        typer.echo(
            f"The {manifest.database} database is NOT in this backup. What it holds must come from a dump "
            "that was taken before this backup: pg_dump --format=custom --file=cloud.dump DATABASE",
            err=True,
        )
    facts = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "files": len(manifest.files),
        "database": manifest.database,
        "created_ns": manifest.created_ns,
        "left_out": list(LEFT_OUT),
    }
    print_facts(facts, json=json)
    with offline_store(settings) as engine:
        record_offline(engine, "take a backup", str(file.absolute()), {"files": len(manifest.files)})


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="File of `edgeloop cloud backup`.")],
    data: DataOption = None,
    config: ConfigOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Restore although --data is not empty; its content is kept beside it."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Restore a cloud from a backup, after checking every file in it.

    At its next start the cloud raises the versions of its update repository above those that nodes may have
    seen since the backup.
    """
    from contextlib import ExitStack

    from cloud_backend.runtime.backup import restore_backup
    from cloud_backend.runtime.data_folder import sole_use

    settings = settings_of(data, config)
    folder = Path(settings.data)
    with ExitStack() as stack:
        if folder.is_dir():
            stack.enter_context(sole_use(folder.resolve()))
        manifest, before = restore_backup(file, folder, force=force, by=f"os:{os_user()}")
    notes = [
        "Nodes that were enrolled after the backup must be enrolled again; nodes that were retired after it, "
        "retired again.",
    ]
    if manifest.database != "sqlite":
        notes.append(
            f"The {manifest.database} database is not in this backup: restore its dump (pg_restore --clean "
            "--if-exists --dbname=DATABASE cloud.dump) before the cloud starts, and name it in its settings."
        )
    elif settings.database:
        notes.append(
            f"The store is in {folder / 'cloud.sqlite'}; the settings name another database, which this "
            "restore leaves alone."
        )
    for note in notes:
        typer.echo(note, err=True)
    facts = {
        "data": str(folder),
        "files": len(manifest.files),
        "database": manifest.database,
        "created_ns": manifest.created_ns,
        "kept": str(before) if before else "",
    }
    print_facts(facts, json=json)


@app.command("broker-config")
def broker_config(
    out: Annotated[Path, typer.Option(help="Folder for mosquitto.conf, passwords and rules.")],
    data: DataOption = None,
    config: ConfigOption = None,
    cert: Annotated[str, typer.Option(help="The broker's certificate (PEM), as a path on its machine.")] = "",
    key: Annotated[str, typer.Option(help="Key of the certificate, as a path on its machine.")] = "",
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Listener of the broker; by default mqtt.host:mqtt.port."),
    ] = "",
    folder: Annotated[
        str, typer.Option(help="Folder of the files on the broker's machine; by default --out.")
    ] = "",
    user: Annotated[str, typer.Option(help="System user that the broker runs as.")] = "mosquitto",
    json: JsonOption = False,
) -> None:
    """Write the files of an external Mosquitto for this cloud: listener, users and access rules.

    The users are the cloud itself and the nodes in service, with their passwords' hashes. Write the files
    again after each enrolment, replacement or retirement, and send the broker SIGHUP.
    """
    from cloud_backend.access.tokens import Access
    from cloud_backend.broker.provision import Listener, write_broker_files
    from cloud_backend.commands.up import address_of

    settings = settings_of(data, config)
    where = {"host": settings.mqtt.host, "port": settings.mqtt.port} | address_of(listen, "--listen")
    listener = Listener(where["host"], where["port"], PurePosixPath(folder or out.resolve()), user, cert, key)
    with offline_store(settings) as engine:
        users = Access(engine, Path(settings.data) / "secrets").broker_users
        files = write_broker_files(out, listener, users)
        count = len(users())
        record_offline(engine, "write the broker's users and rules", str(out.absolute()), {"users": count})
    typer.echo(
        "Files for the broker's system user only: chown them to it. The cloud needs mqtt.broker = external, "
        "mqtt.host and mqtt.port" + (", mqtt.tls and mqtt.ca_file" if cert else "") + ".",
        err=True,
    )
    facts = {"files": [str(file) for file in files], "users": count, "tls": bool(cert)}
    print_facts(facts, json=json)


@app.command("settings")
def list_settings(json: JsonOption = False) -> None:
    """Every setting of a cloud with its default and its meaning."""
    for setting in explain(CloudSettings):
        if json:
            print_object(setting)
        else:
            typer.echo(f"{setting.name} = {setting.default}\n    {setting.help}")
