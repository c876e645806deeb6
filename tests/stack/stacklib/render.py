# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turns the template of the example stack into a directory that Compose can start."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import secrets
import typing as t

from . import dotenv

HERE = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = HERE / "docker-compose.yml.in"
GENERATED_SECRETS = ("POSTGRES_PASSWORD", "DATABASE_PASSWORD", "JWT_SECRET")


@dataclasses.dataclass(frozen=True)
class StackOptions:
    """What differs between one rendered stack and another."""

    project: str = "shop"
    backend: str = "backend"
    database: str = "postgres"
    port: int = 8000
    bind: str = "0.0.0.0"
    database_port: t.Optional[int] = None
    backend_image: str = "stackops-test/app"
    database_image: str = "stackops-test/postgres:17"
    backend_memory: str = "256m"
    database_memory: str = "512m"
    restart: str = "unless-stopped"
    health_interval: str = "3s"
    health_retries: int = 3
    health_start_period: str = "8s"
    postgres_user: str = "postgres"
    postgres_db: str = "mydb"
    seed_orders: int = 2000
    seed_events: int = 200000


def compose_file(options: StackOptions) -> str:
    """Return the Compose file with the service names of *options*."""
    ports = f'    ports:\n      - "127.0.0.1:{options.database_port}:5432"\n' if options.database_port else ""
    text = TEMPLATE.read_text("utf-8")
    for mark, value in (("@backend@", options.backend), ("@database_ports@", ports), ("@database@", options.database)):
        text = text.replace(mark, value)
    return text


def variables(options: StackOptions, present: t.Mapping[str, str]) -> dict[str, str]:
    """Return what goes into ``.env``. Secrets that are *present* stay, as the database was created with them."""
    password = present.get("POSTGRES_PASSWORD") or secrets.token_hex(12)
    return {
        "COMPOSE_PROJECT_NAME": options.project,
        "BACKEND_IMAGE": options.backend_image,
        "DATABASE_IMAGE": options.database_image,
        "HTTP_BIND": options.bind,
        "HTTP_PORT": str(options.port),
        "POSTGRES_USER": options.postgres_user,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_DB": options.postgres_db,
        "DATABASE_HOST": options.database,
        "DATABASE_USER": options.postgres_user,
        "DATABASE_PASSWORD": password,
        "DATABASE_POOL_SIZE": "5",
        "DATABASE_MAX_OVERFLOW": "5",
        "DATABASE_POOL_TIMEOUT": "10",
        "JWT_SECRET": present.get("JWT_SECRET") or secrets.token_hex(24),
        "DEBUG": "false",
        "LOG_LEVEL": "INFO",
        "MIGRATE_ON_START": "true",
        "APP_EXTENSIONS": "",
        "PRICE_HISTORY_DAYS": "30",
        "SEED_ORDERS": str(options.seed_orders),
        "SEED_EVENTS": str(options.seed_events),
        "BACKEND_MEMORY": options.backend_memory,
        "DATABASE_MEMORY": options.database_memory,
        "RESTART_POLICY": options.restart,
        "HEALTHCHECK_PATH": "/health",
        "HEALTHCHECK_INTERVAL": options.health_interval,
        "HEALTHCHECK_RETRIES": str(options.health_retries),
        "HEALTHCHECK_START_PERIOD": options.health_start_period,
    }


def _write(path: pathlib.Path, text: str, mode: int) -> None:
    """Write *path* whole; an unchanged file keeps its time, which says when a container is older than it."""
    if path.exists() and path.read_text("utf-8") == text:
        return
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    temporary.chmod(mode)
    temporary.replace(path)


def render(target: t.Union[str, os.PathLike[str]], options: StackOptions) -> pathlib.Path:
    """Write the stack of *options* into *target* and return it. Writing it again changes nothing."""
    directory = pathlib.Path(target)
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    env_path = directory / ".env"
    present = dotenv.parse(env_path.read_text("utf-8")) if env_path.exists() else {}
    _write(env_path, dotenv.update("# Settings of the example stack.\n", variables(options, present)), 0o600)
    _write(directory / "docker-compose.yml", compose_file(options), 0o644)
    return directory


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="render", description="Write the example stack into a directory that Compose can start.")
    parser.add_argument("--target", required=True, metavar="DIR", help="directory to write; made where it is not there")
    for field in dataclasses.fields(StackOptions):
        kind = int if field.name.endswith(("port", "retries", "orders", "events")) else str
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default, help=f"default: {field.default}")
    return parser


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the command line and return its exit code."""
    arguments = vars(_parser().parse_args(argv))
    render(arguments.pop("target"), StackOptions(**arguments))
    return 0
