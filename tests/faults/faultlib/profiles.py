# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stacks that accuracy is measured on: what they are called, how they get onto a host, and which cases they run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import secrets
import shutil
import typing as t

from stacklib import traffic
from stacklib.render import StackOptions, render
from testbedlib import seed
from testbedlib.paths import SECOND_STACK

from . import cases
from .stack import OLD_FORMAT

#: Where a stack is on its host.
DIRECTORY = "/srv/stack"


@dataclasses.dataclass(frozen=True)
class Profile:
    """One of the stacks.

    *write* puts its files into a directory. *checked* are the services with a health check, *images* what its host needs
    besides the example's. *names* may stand between braces in the cases of *catalogues*; with *library*, the faults of
    ``catalogue.yml`` are cases as well. *calls* are the requests of an ordinary day. *host_image* is that of its hosts. Where *chosen*
    is the name of a list in the catalogues, only the cases in that are its own: variants of another profile's.
    """

    name: str
    title: str
    project: str
    port: int
    backend: str
    database: str
    checked: tuple[str, ...]
    catalogues: tuple[str, ...]
    names: t.Mapping[str, str]
    write: t.Callable[[pathlib.Path], None]
    library: bool = False
    images: tuple[str, ...] = ()
    host_image: str = seed.HOST_IMAGE
    chosen: str = ""
    calls: t.Callable[[traffic.Shop, random.Random], t.Iterator[traffic.Call]] = traffic.mixed_calls

    def host(self, number: int) -> str:
        """Return a host of the test bed it runs on; two checkouts on one machine need different ones."""
        return f"{os.environ.get('ACCURACY_HOSTS', 'accuracy')}-{self.name}-{number}"

    def all_names(self) -> dict[str, str]:
        """Return what may stand between braces in the catalogue."""
        return {
            "project": self.project,
            "backend": self.backend,
            "database": self.database,
            "port": str(self.port),
            "directory": DIRECTORY,
            "container": f"{self.project}-{self.backend}-1",
            "database_container": f"{self.project}-{self.database}-1",
            **self.names,
        }

    def cases(self) -> list[cases.Case]:
        """Return its cases."""
        return cases.load([cases.DIRECTORY / name for name in self.catalogues], self.all_names(), self.library, self.chosen)


def _write_shop(directory: pathlib.Path) -> None:
    render(directory, StackOptions(project="shop", health_interval="4s", health_start_period="9s", seed_events=200000))


def _write_old(directory: pathlib.Path) -> None:
    _write_shop(directory)
    path = directory / "docker-compose.yml"
    # Before 1.27 Compose takes a file that does not say its version for the first one.
    path.write_text(f'version: "{OLD_FORMAT}"\n{path.read_text("utf-8")}', "utf-8")


def _write_second(directory: pathlib.Path) -> None:
    password = secrets.token_hex(12)
    variables = {
        "COMPOSE_PROJECT_NAME": "readers", "HTTP_PORT": "8090", "STORE_PASSWORD": password, "DB_HOST": "store", "DB_PORT": "5432",
        "DB_NAME": "holdings", "DB_USER": "librarian", "DB_PASSWORD": password, "DB_POOL": "4", "DB_POOL_TIMEOUT": "5",
        "CACHE_URL": "redis://cache:6379/0", "LABEL_SECONDS": "0", "API_MEMORY": "320m", "LOG_LEVEL": "INFO",
    }  # fmt: skip
    (directory / "var").mkdir(parents=True)
    (directory / "var").chmod(0o777)
    shutil.copy(SECOND_STACK / "docker-compose.yml", directory)
    path = directory / ".env"
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), "utf-8")
    path.chmod(0o600)


def _second_calls(dummy_shop: traffic.Shop, number: random.Random) -> t.Iterator[traffic.Call]:
    makers: dict[t.Callable[[], traffic.Call], int] = {
        lambda: traffic.Call("GET", f"/v2/books?shelf=S{number.randrange(9)}"): 30,
        lambda: traffic.Call("GET", f"/v2/books/{number.randrange(20, 500)}"): 30,
        lambda: traffic.Call("GET", f"/v2/books/{number.randrange(900, 999)}"): 2,
        lambda: traffic.Call("GET", "/v2/popular"): 10,
        lambda: traffic.Call("POST", f"/v2/loans?book_id={number.randrange(1, 500)}"): 8,
        lambda: traffic.Call("GET", "/ready"): 3,
        lambda: traffic.Call("GET", "/favicon.ico"): 1,
    }
    while True:
        yield number.choices(list(makers), list(makers.values()))[0]()


_SHOP = Profile(
    name="shop",
    title="uvicorn with JSON logs, SQLAlchemy and psycopg2, PostgreSQL 17",
    project="shop",
    port=8000,
    backend="backend",
    database="postgres",
    checked=("backend", "postgres"),
    catalogues=("common.yml", "shop.yml"),
    library=True,
    names={
        "user": "postgres",
        "db": "mydb",
        "table": "items",
        "table_path": "/api/v1/items",
        "write_path": "/api/v1/items",
        "health_path": "/health",
        "base_url": "http://localhost:8000",
        "health_url": "http://localhost:8000/health",
        "log": "logs/app.log",
        "logs": "logs",
        "app_image": "stackops-test/app",
        "setting": "LOG_LEVEL",
        "other_value": "WARNING",
    },
    write=_write_shop,
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        _SHOP,
        dataclasses.replace(
            _SHOP,
            name="old",
            title="The first again on Debian 11: Python 3.9, Engine 20.10, Compose v1",
            names={**_SHOP.names, "container": "shop_backend_1", "database_container": "shop_postgres_1"},
            write=_write_old,
            host_image="host:bullseye",
            chosen="old",
        ),
        Profile(
            name="second",
            title="nginx, gunicorn with loguru text logs, asyncpg, Redis, PostgreSQL 15",
            project="readers",
            port=8090,
            backend="api",
            database="store",
            checked=("edge", "api", "store", "cache"),
            catalogues=("common.yml", "second.yml"),
            names={
                "user": "librarian",
                "db": "holdings",
                "table": "books",
                "table_path": "/v2/books?shelf=S1",
                "write_path": "/v2/loans",
                "health_path": "/ready",
                "base_url": "http://localhost:8080",
                "health_url": "http://localhost:8080/ready",
                "log": "var/api.log",
                "logs": "var",
                "app_image": "stackops-test/second-api",
                "setting": "DB_POOL_TIMEOUT",
                "other_value": "9",
            },
            write=_write_second,
            images=("second-api:latest", "second-edge:latest", "second-cache:latest", "postgres:15"),
            calls=_second_calls,
        ),
    )
}
