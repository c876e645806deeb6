# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes against real containers: names and links from inside, ports and who holds them, migrations, the kernel's kills."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _host_resources as host
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import Selection, discover
from ansible_collections.stackops.runbook.plugins.module_utils._engine import Engine, EngineOptions
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError
from ansible_collections.stackops.runbook.plugins.module_utils._http_probe import collect_http
from ansible_collections.stackops.runbook.plugins.module_utils._migrations import Graph, collect_migrations, heads_by_running, parse_script, read_code
from ansible_collections.stackops.runbook.plugins.module_utils._netns import Resolver, in_network_namespace, read_in_root, resolve_in_container
from ansible_collections.stackops.runbook.plugins.module_utils._ports import collect_ports
from ansible_collections.stackops.runbook.plugins.module_utils._service_links import collect_links

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

ROOT = pathlib.Path(__file__).parents[2]
APP, POSTGRES = "stackops-test/app", "stackops-test/postgres:17"
PROJECT = f"probelive{os.getpid()}"
PASSWORD = "Canary-probe-90d1"


def docker(*arguments, check=True):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=check).stdout.strip()


def need_image(image):
    """Build the image where it is missing; without it there is nothing to test, which is a failure in CI."""
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False).returncode == 0:
        return
    name = image.partition("/")[2].replace(":latest", "")
    built = subprocess.run([str(ROOT / "tests/testbed/testbed"), "images", name], capture_output=True, text=True, timeout=900, check=False)
    if built.returncode != 0:
        reason = f"no image {image}: {built.stderr.strip().splitlines()[-1:]}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def labels(service, depends_on=""):
    pairs = {"project": PROJECT, "service": service, "container-number": "1", "oneoff": "False", "config-hash": "x", "version": "2.26.1"}
    found = [argument for key, value in pairs.items() for argument in ("--label", f"com.docker.compose.{key}={value}")]
    return [*found, "--label", f"com.docker.compose.depends_on={depends_on}", "--label", f"com.docker.compose.project.working_dir=/nonexistent/{PROJECT}"]


def run(service, *command, image=APP, options=(), verb="run", depends_on=""):
    detached = ["-d"] if verb == "run" else []
    name = f"{PROJECT}-{service}-1"
    # Compose gives every container its service's name on its networks.
    alias = ["--network-alias", service] if "--network" in options else []
    docker(verb, *detached, "--name", name, *labels(service, depends_on), *alias, *options, image, *command)
    return name


def pid_of(name):
    return int(docker("inspect", "-f", "{{.State.Pid}}", name))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def http_server(port, address="0.0.0.0"):
    return ["--entrypoint", "python3"], ["-m", "http.server", str(port), "--bind", address]


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def engine():
    return Engine.connect(EngineOptions.from_environment())


@pytest.fixture(scope="module")
def ports():
    """A small project: what each service is reachable at."""
    need_image(APP)
    front, back = f"{PROJECT}-front", f"{PROJECT}-back"
    taken, published, loopback = free_port(), free_port(), free_port()
    try:
        docker("network", "create", front)
        docker("network", "create", back)
        entry, command = http_server(5432)
        run("store", *command, options=["--network", front, "--network-alias", "db", *entry, "--expose", "5432"])
        run("hidden", *http_server(6379)[1], options=["--network", back, *entry, "--expose", "6379"])
        environment = ["DATABASE_URL=postgresql://u:" + PASSWORD + "@db/x", "REDIS_URL=redis://hidden", "AMQP_URL=amqp://store:5673", "BACKEND_URL=http://quiet:8000"]
        web = ["--network", front, "--publish", f"127.0.0.1:{published}:8000", *entry]
        web += [argument for one in environment for argument in ("--env", one)]
        run("web", *http_server(8000)[1], options=web, depends_on="store:service_started:true,quiet:service_started:true")
        run("quiet", *http_server(8000)[1], options=["--network", front, "--expose", "8000", *entry])
        run("inward", *http_server(8000, "127.0.0.1")[1], options=["--network", front, "--publish", f"{loopback}:8000", *entry])
        with socket.create_server(("0.0.0.0", taken)):
            run("late", *http_server(8000)[1], options=["--network", front, "--publish", f"{taken}:8000", *entry], verb="create")
            docker("start", f"{PROJECT}-late-1", check=False)
        run("second", *http_server(8000)[1], options=["--network", front, "--publish", f"127.0.0.1:{published}:8000", *entry], verb="create")
        docker("start", f"{PROJECT}-second-1", check=False)
        until(lambda: connects(published))
        yield {"taken": taken, "published": published, "loopback": loopback}
    finally:
        names = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        docker("rm", "-f", "-v", *names, check=False)
        docker("network", "rm", front, back, check=False)


def connects(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as channel:
            channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return channel.recv(4) == b"HTTP"
    except OSError:
        return False


@pytest.fixture
def stacks(engine, ports):
    return discover(engine, Selection(project_name=PROJECT))


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_as_the_container_resolves_them(ports):
    web, store = pid_of(f"{PROJECT}-web-1"), docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", f"{PROJECT}-store-1")
    identifier = docker("inspect", "-f", "{{slice .Id 0 12}}", f"{PROJECT}-store-1")
    for name in ("db", "DB", f"{PROJECT}-store-1", identifier, "db."):
        assert resolve_in_container(web, name, 3) == [store], name
    assert resolve_in_container(web, "localhost", 3)[0] == "127.0.0.1"
    # Its own name is in its hosts file.
    assert resolve_in_container(web, docker("inspect", "-f", "{{.Config.Hostname}}", f"{PROJECT}-web-1"), 3)


@pytest.mark.parametrize("name", ["hidden", "nosuch", "nosuch.invalid", "a..b"])
def test_names_it_cannot_resolve(ports, name):
    begin = time.monotonic()
    with pytest.raises(CheckError) as caught:
        resolve_in_container(pid_of(f"{PROJECT}-web-1"), name, 3)
    assert caught.value.code == "name-not-resolved"
    assert time.monotonic() - begin < 20


def test_the_same_as_the_c_library_says_inside(ports):
    name = f"{PROJECT}-web-1"
    for target in ("db", "quiet", "localhost", "hidden", "nosuch"):
        inside = docker("exec", name, "python3", "-c", f"import socket; print(socket.gethostbyname({target!r}))", check=False)
        try:
            found = resolve_in_container(pid_of(name), target, 3)
        except CheckError:
            found = [""]
        assert found[0] == inside, target


def test_the_callers_namespace_stays(ports):
    def namespace():
        return os.readlink("/proc/thread-self/ns/net")

    before = namespace()
    inside = in_network_namespace(pid_of(f"{PROJECT}-web-1"), namespace, 2)
    assert inside != before
    assert namespace() == before
    assert inside == os.readlink(f"/proc/{pid_of(f'{PROJECT}-web-1')}/ns/net")


def test_absolute_links_stay_in_the_container(ports):
    name = f"{PROJECT}-store-1"
    docker("exec", "-u", "0", name, "sh", "-c", "ln -sf /etc/hostname /tmp/link; ln -sf /../../../../etc/hostname /tmp/up")
    assert read_in_root(pid_of(name), "/tmp/link") == read_in_root(pid_of(name), "/etc/hostname") != pathlib.Path("/etc/hostname").read_bytes()
    assert read_in_root(pid_of(name), "/tmp/up") == read_in_root(pid_of(name), "/etc/hostname")


def test_a_resolver_whose_upstream_is_silent(ports):
    resolver = Resolver.of_container(pid_of(f"{PROJECT}-web-1"))
    # What Docker's own server does not know it forwards; cut off, it would hang for many seconds.
    conf = resolver.conf
    assert conf.nameservers == ("127.0.0.11",)
    assert in_network_namespace(pid_of(f"{PROJECT}-web-1"), lambda: resolver._only_upstream_is_silent(time.monotonic() + 1), 3)


# -- links -------------------------------------------------------------------------------------------------------------


def test_links_from_inside(stacks):
    begin = time.monotonic()
    facts = collect_links(stacks)
    assert time.monotonic() - begin < 20
    rows = {(row["from_service"], row["to_host"], row["to_port"]): row for row in facts["links"]}
    good = rows[("web", "db", 5432)]
    assert (good["status"], good["to_service"], good["connected"], good["shared_networks"]) == ("ok", "store", True, [f"{PROJECT}-front"])
    assert good["addresses"]
    other = rows[("web", "hidden", 6379)]
    assert (other["status"], other["failure"], other["to_service"], other["shared_networks"]) == ("critical", "name-not-resolved", "hidden", [])
    closed = rows[("web", "store", 5673)]
    assert (closed["status"], closed["failure"], closed["resolved"]) == ("critical", "refused", True)
    assert rows[("web", "quiet", 8000)]["status"] == "ok"
    assert PASSWORD not in json.dumps(facts)


AS_NOBODY = """
import json, sys
from ansible_collections.stackops.runbook.plugins.module_utils._discovery import ContainerRef, Stack
from ansible_collections.stackops.runbook.plugins.module_utils._service_links import collect_links
from ansible_collections.stackops.runbook.plugins.module_utils._ports import collect_ports
from ansible_collections.stackops.runbook.plugins.module_utils._host_resources import collect_host
stack = Stack("x", containers=[ContainerRef(raw) for raw in json.load(sys.stdin)])
print(json.dumps({"links": collect_links([stack]), "ports": collect_ports([stack]), "host": collect_host([stack])}))
"""


def test_without_root_it_is_unknown_with_the_reason(stacks, tmp_path_factory):
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    raw = json.dumps([container.inspect for stack in stacks for container in stack.containers])
    # A copy that anyone may read, wherever this checkout lies.
    place = tmp_path_factory.mktemp("readable")
    package = place / "ansible_collections/stackops/runbook/plugins"
    shutil.copytree(ROOT / "plugins/module_utils", package / "module_utils")
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
    for parent in [place, *place.parents]:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", sys.executable, "-c", AS_NOBODY]
    environment = {"PYTHONPATH": str(place), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, input=raw, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["links"]["status"] == "unknown"
    assert {row["failure"] for row in facts["links"]["links"]} <= {"not-permitted", "not-running"}
    assert [error["hint"] for error in facts["links"]["errors"]] != []
    assert any("without root" in error["reason"] for error in facts["ports"]["errors"])
    assert any(row["listening_on_host"] for row in facts["ports"]["published"])
    assert facts["host"]["memory_total_bytes"] > 0


# -- ports -------------------------------------------------------------------------------------------------------------


def test_ports_and_who_holds_them(stacks, engine, ports):
    with socket.create_server(("0.0.0.0", ports["taken"])):
        facts = collect_ports(stacks, engine)
    rows = {row["service"]: row for row in facts["published"]}
    web = rows["web"]
    assert web["host_port"] == ports["published"]
    assert (web["listening_on_host"], web["listening_in_container"]) == (True, True)
    assert (web["bound_to_loopback_inside"], web["world_reachable_bind"]) == (False, False)
    inward = rows["inward"]
    assert (inward["listening_on_host"], inward["bound_to_loopback_inside"], inward["world_reachable_bind"]) == (True, True, True)
    conflicts = {row["wanted_by"]: row for row in facts["conflicts"]}
    late = conflicts[f"{PROJECT}/late"]
    assert (late["host_port"], late["held_by_pid"]) == (ports["taken"], os.getpid())
    second = conflicts[f"{PROJECT}/second"]
    assert (second["host_port"], second["held_by"]) == (ports["published"], f"{PROJECT}/web")
    listener = next(row for row in facts["listeners"] if row["port"] == ports["published"])
    assert listener["container"] == f"{PROJECT}-web-1"
    assert facts["status"] == "critical"


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_endpoints_of_real_containers(stacks, ports):
    declared = [
        {"url": "http://quiet:8000/", "name": "quiet from web", "container": "web"},
        {"url": "http://hidden:6379/", "name": "hidden from web", "container": f"{PROJECT}/web"},
    ]
    facts = collect_http(stacks, declared)
    rows = {row["name"]: row for row in facts["endpoints"]}
    assert (rows["quiet from web"]["status"], rows["quiet from web"]["via"], rows["quiet from web"]["http_status"]) == ("ok", "container-network", 200)
    assert rows["hidden from web"]["failure"] == "name-not-resolved"
    # Python's server has no /health, which was a guess: its root was asked instead.
    assert (rows["web:8000/"]["status"], rows["web:8000/"]["url"]) == ("ok", f"http://127.0.0.1:{ports['published']}/")
    assert (rows["quiet:8000/"]["status"], rows["quiet:8000/"]["via"]) == ("ok", "container-network")
    assert rows["inward:8000/health"]["failure"] == "connection-reset"
    assert rows["late:8000/"]["failure"] == "not-running"
    assert "web:8000/health" not in rows


# -- migrations --------------------------------------------------------------------------------------------------------

MAKE_SCRIPTS = """
import json, os, random, sys
from alembic.script import ScriptDirectory
rng = random.Random(int(sys.argv[1]))
heads = {}
for graph in range(20):
    place = f"/tmp/graphs/{graph}"
    os.makedirs(place + "/versions")
    open(place + "/env.py", "w").close()
    names = []
    for number in range(rng.randrange(1, 12)):
        name = f"rev{number:04d}"
        down = rng.sample(names, min(len(names), rng.choice([0, 1, 1, 1, 2])))
        others = [one for one in names if one not in down]
        depends = rng.sample(others, min(len(others), rng.choice([0, 0, 0, 1])))
        shape = {0: "None", 1: repr(down[0]) if down else "None"}.get(len(down), repr(tuple(down)))
        with open(f"{place}/versions/{name}.py", "w") as handle:
            handle.write(f'\"\"\"message {number}\"\"\"\\nrevision = "{name}"\\ndown_revision = {shape}\\ndepends_on = {depends or None!r}\\n')
        names.append(name)
    heads[graph] = sorted(ScriptDirectory(place).get_heads())
with open("/tmp/alembic.ini", "w") as handle:
    handle.write("[alembic]\\nscript_location = graphs/0\\n")
print(json.dumps(heads))
"""


def test_heads_are_alembics_own(engine):
    need_image(APP)
    name = run("alembic", "infinity", options=["--entrypoint", "sleep", "-w", "/tmp"])
    try:
        seed = random.randrange(10**6)
        expected = json.loads(docker("exec", name, "python3", "-c", MAKE_SCRIPTS, str(seed)))
        (container,) = discover(engine, Selection(project_name=PROJECT, services=("alembic",)))[0].containers
        files = engine.read_archive(container.id, "/tmp/graphs", 16 * 1024 * 1024)
        for graph, heads in expected.items():
            below = {path: text for path, text in files.items() if path.startswith(f"/tmp/graphs/{graph}/versions/") and path.endswith(".py")}
            scripts = [parse_script(text, path) for path, text in below.items()]
            assert list(Graph(scripts).heads) == heads, (seed, graph)
        assert list(read_code(engine, container).heads) == expected["0"]
        assert list(heads_by_running(engine, container).heads) == expected["0"]
        docker("stop", "-t", "0", name)
        assert list(read_code(engine, container).heads) == expected["0"]
    finally:
        docker("rm", "-f", name, check=False)


@pytest.fixture(scope="module")
def database(engine):
    need_image(APP)
    need_image(POSTGRES)
    network = f"{PROJECT}-data"
    docker("network", "create", network)
    try:
        secrets = ["--env", f"POSTGRES_PASSWORD={PASSWORD}", "--env", "POSTGRES_USER=app", "--env", "POSTGRES_DB=app"]
        store = run("pg", image=POSTGRES, options=["--network", network, *secrets])
        address = f"postgresql+psycopg2://app:{PASSWORD}@pg:5432/app"
        app = run("api", "infinity", options=["--network", network, "--env", f"DATABASE_URL={address}", "--entrypoint", "sleep"])
        until(lambda: "accepting" in docker("exec", store, "pg_isready", "-h", "127.0.0.1", "-U", "app", check=False), 90)
        docker("exec", app, "alembic", "upgrade", "0002_orders")
        yield store, app
    finally:
        docker("rm", "-f", "-v", f"{PROJECT}-pg-1", f"{PROJECT}-api-1", check=False)
        docker("network", "rm", network, check=False)


def migrations_now(engine):
    stack = discover(engine, Selection(project_name=PROJECT, services=("pg", "api")))
    facts = collect_migrations(stack, engine)
    assert PASSWORD not in json.dumps(facts)
    (row,) = facts["applications"]
    return row


def sql(store, text):
    docker("exec", "-e", f"PGPASSWORD={PASSWORD}", store, "psql", "-h", "127.0.0.1", "-U", "app", "-d", "app", "-c", text)


def alembic_status(*services):
    """Run the module as Ansible does, and return its result."""
    options = json.dumps({"project_name": PROJECT, "services": services})
    command = [str(pathlib.Path(sys.executable).parent / "ansible"), "localhost", "-c", "local", "-m", "stackops.runbook.alembic_status", "-a", options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return json.loads(done.stdout.partition("=>")[2])


def test_the_module_says_what_is_pending_and_without_alembic_what_it_cannot_know(database):
    store, app = database
    # The database is found though it was not asked for.
    result = alembic_status("api")
    assert (result["changed"], result["status"], result["applications"][0]["pending"][0]["revision"]) == (False, "warning", "0003_order_notes")
    docker("exec", "-u", "0", app, "mv", "/app/alembic.ini", "/app/away.ini")
    try:
        (row,) = alembic_status("api")["applications"]
    finally:
        docker("exec", "-u", "0", app, "mv", "/app/away.ini", "/app/alembic.ini")
    assert (row["state"], row["current"], row["heads"]) == ("unknown", ["0002_orders"], [])
    assert "cannot be known" in row["reason"]
    absent = alembic_status("nobody")
    assert (absent["status"], absent["errors"][0]["source"]) == ("unknown", "nobody")


def test_states_of_a_real_database(engine, database):
    store, app = database
    row = migrations_now(engine)
    assert (row["state"], row["current"], row["heads"]) == ("pending", ["0002_orders"], ["0003_order_notes"])
    assert row["pending"] == [{"revision": "0003_order_notes", "message": "Notes about orders."}]
    sql(store, "UPDATE alembic_version SET version_num = '0003_order_notes'")
    assert (migrations_now(engine)["state"], migrations_now(engine)["status"]) == ("up-to-date", "ok")
    sql(store, "UPDATE alembic_version SET version_num = 'from-the-future'")
    row = migrations_now(engine)
    assert (row["state"], row["unknown_revision"], row["database_ahead"]) == ("ahead", "from-the-future", True)
    sql(store, "DROP TABLE alembic_version")
    assert migrations_now(engine)["state"] == "not-initialised"
    docker("stop", "-t", "1", app)
    row = migrations_now(engine)
    assert (row["state"], row["heads"]) == ("not-initialised", ["0003_order_notes"])
    docker("stop", "-t", "5", store)
    row = migrations_now(engine)
    assert (row["state"], row["status"], row["heads"]) == ("unknown", "unknown", ["0003_order_notes"])
    assert row["reason"]


# -- the host ----------------------------------------------------------------------------------------------------------


def test_the_kernel_names_the_container_that_it_killed():
    need_image(APP)
    name = f"{PROJECT}-oom"
    began = time.time()
    try:
        docker("run", "--name", name, "-m", "24m", "--memory-swap", "24m", "--entrypoint", "tail", APP, "/dev/zero", check=False)
        identifier = docker("inspect", "-f", "{{.Id}}", name)
    finally:
        docker("rm", "-f", name, check=False)
    try:
        kills = host.kernel_oom_kills(began - 5)
    except CheckError as error:
        pytest.skip(f"the kernel's log may not be read here: {error.reason}")
    (kill,) = [one for one in kills if one["container_id"] == identifier[:12]]
    assert (kill["process"], kill["scope"]) == ("tail", "container")


def test_large_processes_are_their_containers(engine):
    need_image(APP)
    name = run("glutton", "-c", "import time; held = b'x' * 600_000_000; time.sleep(60)", options=["--entrypoint", "python3"])
    try:
        until(lambda: host.sample_processes().get(pid_of(name), host.ProcessSample(0, "", 0, 0, 0)).memory_bytes > 500_000_000)
        facts = host.collect_host(discover(engine, Selection(project_name=PROJECT)), engine)
    finally:
        docker("rm", "-f", name, check=False)
    row = next(row for row in facts["processes"] if row["service"] == "glutton")
    assert (row["container"], row["project"], row["name"]) == (name, PROJECT, "python3")
    assert row["memory_bytes"] > 500_000_000


def test_a_small_volume_that_is_full(engine):
    need_image(APP)
    volume = f"{PROJECT}-small"
    docker("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=2m", volume)
    try:
        script = "head -c 2050000 /dev/zero > /data/fill; head -c 900000 /dev/zero > /scratch/fill; sleep 60"
        name = run("full", "-c", script, options=["-u", "0", "-v", f"{volume}:/data", "--tmpfs", "/scratch:size=1m", "--entrypoint", "sh"])
        until(lambda: "fill" in docker("exec", name, "ls", "/scratch", check=False))
        facts = host.collect_host(discover(engine, Selection(project_name=PROJECT, services=("full",))), engine)
    finally:
        docker("rm", "-f", f"{PROJECT}-full-1", check=False)
        docker("volume", "rm", "-f", volume, check=False)
    rows = {row["mount"]: row for row in facts["filesystems"] if f"volume:{PROJECT}/full" in row["used_for"]}
    assert {(row["size_bytes"], row["status"]) for row in rows.values()} == {(2 * 1024 * 1024, "critical"), (1024 * 1024, "warning")}
    assert f"{PROJECT}-full-1:/scratch" in rows
