"""``imgsearch serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from imgsearch.cli.configuration import active
from imgsearch.cli.errors import tell
from imgsearch.cli.opening import instance_folder
from imgsearch.cli.options import OUTPUT, RESOURCES, InstanceOption, LockTimeout
from imgsearch.cli.output import print_line
from imgsearch.errors import InstanceNotFound, UsageError
from imgsearch.vision.extras import MCP_EXTRA, SERVE_EXTRA, is_installed, pip_install

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgsearch.agents.http import AgentsOverHttp
    from imgsearch.server.shell import Shell
    from imgsearch.server.start import Parts
    from imgsearch.sources.picture_folders import PictureFolders

__all__ = ["serve"]

NETWORK = "Network"
ACCESS = "Access"
CLIENTS = "Page and agents"
IMPORTS = "Imports from OSS"
PACKAGES = ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client", "itsdangerous")


def _limit(what: str) -> Any:
    return typer.Option(min=0.001, show_default=False, help=f"{what} per second and key.", rich_help_panel=RESOURCES)


def serve(
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=INSTANCE", show_default=False, help="Instances, by the names of requests."),
    ] = None,
    instance: InstanceOption = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="Serve each instance folder in DIR, by its own name."),
    ] = None,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            show_default=False,
            help="A shard of the instance NAME; repeated for each of its shards, from the first to the last.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=NETWORK)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.", rich_help_panel=NETWORK)] = 8080,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", show_default=False, help="Certificate.", rich_help_panel=NETWORK),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", show_default=False, help="Its key.", rich_help_panel=NETWORK),
    ] = None,
    insecure_http: Annotated[
        bool,
        typer.Option(
            "--insecure-http",
            help="Listen to other machines without TLS; for use behind a proxy.",
            rich_help_panel=NETWORK,
        ),
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Access keys, in TOML.", rich_help_panel=ACCESS),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Answer everybody on this machine.", rich_help_panel=ACCESS)
    ] = False,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key",
            metavar="ID",
            show_default=False,
            help="Print a key to append to the file of --keys, and exit.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    ui: Annotated[
        bool,
        typer.Option("--ui", help="Show a page for people at /; they sign in with a key.", rich_help_panel=CLIENTS),
    ] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Offer the tools of 'imgsearch mcp' at /mcp.", rich_help_panel=CLIENTS)
    ] = False,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="A folder whose pictures --ui and --mcp may show; repeatable.",
            rich_help_panel=CLIENTS,
        ),
    ] = None,
    qps_search: Annotated[float | None, _limit("Searches")] = None,
    qps_add: Annotated[float | None, _limit("Additions")] = None,
    qps_delete: Annotated[float | None, _limit("Deletions")] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="Folder of tasks; by default in the user's data."),
    ] = None,
    oss_endpoint: Annotated[
        str | None, typer.Option(metavar="HOST", show_default=False, help="Host of OSS.", rich_help_panel=IMPORTS)
    ] = None,
    oss_role_arn: Annotated[
        str | None, typer.Option(metavar="ARN", show_default=False, help="Role to assume.", rich_help_panel=IMPORTS)
    ] = None,
    oss_sts_endpoint: Annotated[
        str | None,
        typer.Option(metavar="HOST", show_default=False, help="Host of the token service.", rich_help_panel=IMPORTS),
    ] = None,
    public_metrics: Annotated[
        bool, typer.Option("--public-metrics", help="Answer /metrics to other machines, too.", rich_help_panel=OUTPUT)
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="text: trouble only; json: each request, too.", rich_help_panel=OUTPUT),
    ] = "text",
    lock_timeout: LockTimeout = 30.0,
) -> None:
    """Serve instances over HTTP: to the vendor's SDKs, unchanged; to people in a browser; to agents."""
    missing = [name for name in PACKAGES if not is_installed(name)]
    if missing:
        raise UsageError(f'imgsearch serve needs {", ".join(missing)}: run "{pip_install(SERVE_EXTRA)}"')
    from imgsearch.server.keys import new_key as made_key

    if new_key is not None:
        print_line(made_key(new_key).rstrip())
        return
    if (keys is None) != no_auth:
        raise UsageError(
            "give either --keys or --no-auth"
            if no_auth
            else "give --keys FILE ('imgsearch serve --new-key ID' prints a key for it), or --no-auth to answer "
            "everybody on this machine"
        )
    if pictures and not (ui or mcp):
        raise UsageError("--pictures is for --ui and --mcp: the vendor's API shows no pictures")
    if mcp and not is_installed("mcp_types"):
        raise UsageError(f'--mcp needs the package mcp, version 2 or later: run "{pip_install(MCP_EXTRA)}"')
    from imgsearch.cli import warm_host
    from imgsearch.locations import server_folder
    from imgsearch.server.running import Address
    from imgsearch.server.start import Settings
    from imgsearch.server.start import serve as run
    from imgsearch.server.tasks import OssAccess
    from imgsearch.server.throttling import Limits
    from imgsearch.sources.oss.address import check_role_arn
    from imgsearch.sources.oss.credentials import silence_libraries

    if oss_role_arn is not None:
        check_role_arn(oss_role_arn)
    silence_libraries()
    sharded = _sharded(shards or [])
    settings = Settings(
        Address(host, port, tls_cert, tls_key),
        state=state or server_folder(),
        named=_named(named or [], instance, root, sharded),
        sharded=sharded,
        root=root,
        keys=keys,
        insecure_http=insecure_http,
        limits=Limits(qps_search, qps_add, qps_delete),
        oss=OssAccess(oss_endpoint, oss_role_arn, oss_sts_endpoint),
        lock_timeout=lock_timeout,
        public_metrics=public_metrics,
        log_json=log_format == "json",
        ui=ui,
        pictures=tuple(pictures or ()),
    )
    run(settings, tell, [*([_agents] if mcp else []), *([_shell] if warm_host.is_supported() else [])])


def _agents(parts: Parts, folders: PictureFolders) -> AgentsOverHttp:
    from imgsearch.agents.http import AgentsOverHttp

    return AgentsOverHttp(parts.instances, parts.keys, folders, thumbnails=bool(folders.folders))


def _shell(parts: Parts, _folders: PictureFolders) -> Shell:
    from imgsearch.cli.warm_host import COMMAND_LINE
    from imgsearch.server.shell import Shell

    return Shell(parts.instances, COMMAND_LINE, tell)


def _pair(text: str) -> tuple[str, Path]:
    name, equals, place = text.partition("=")
    if not equals or not name or not place:
        raise UsageError(f"{text!r} is not NAME=INSTANCE, such as shop=/srv/shop")
    return name, active().folder(place)


def _sharded(given: Iterable[str]) -> dict[str, list[Path]]:
    """The folders of the shards of each instance, in order.

    Raises:
        UsageError, InstanceNotFound
    """
    found: dict[str, list[Path]] = {}
    for text in given:
        name, folder = _pair(text)
        _check_exists(name, folder)
        found.setdefault(name, []).append(folder)
    return found


def _check_exists(name: str, folder: Path) -> None:
    from imgsearch.instance import Instance

    if not Instance.exists(folder):
        raise InstanceNotFound(f"there is no instance in {folder}, which is to be served as {name!r}")


def _named(
    given: Iterable[str], instance: Path | None, root: Path | None, sharded: Mapping[str, object]
) -> dict[str, Path]:
    """The instances by name; without any, the one of ``-i`` under the name of its folder.

    Raises:
        UsageError, InstanceNotFound
    """
    found: dict[str, Path] = {}
    for text in given:
        name, folder = _pair(text)
        if name in found or name in sharded:
            raise UsageError(f"the name {name!r} is given twice")
        found[name] = folder
    if instance is not None or not (found or sharded or root is not None):
        folder = instance_folder(instance)
        name = folder.resolve().name
        if name in found or name in sharded:
            raise UsageError(f"the name {name!r} is given twice: once with -i, whose folder has this name")
        found[name] = folder
    for name, folder in found.items():
        _check_exists(name, folder)
    return found
