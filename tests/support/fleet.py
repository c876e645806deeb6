# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A made-up fleet, the same for the same seed: facts as in facts_schema.yml, and reports as in docs/report.md.

It is for what needs many hosts or every kind of trouble at once (size, speed, the look of the page). What the checks
really return is tested with real stacks elsewhere.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import typing as t

from ansible_collections.stackops.runbook.plugins.plugin_utils._history import FleetMetrics, entry_of

NOW = datetime.datetime(2026, 11, 23, 3, 12, tzinfo=datetime.timezone.utc)
WINDOW_MINUTES = 60
RULE_COUNT = 46

Json = dict[str, t.Any]

#: What is wrong with a host. The first ones come in this order, so that a small fleet shows each of them.
TROUBLES = (
    "database-stopped",
    "slow-query",
    "none",
    "pending-migration",
    "unreachable",
    "disk-full",
    "none",
    "out-of-memory",
    "not-root",
    "jwt-mismatch",
    "port-taken",
    "certificate",
    "none",
    "no-statements",
)
WEIGHTS = (3, 6, 62, 3, 3, 5, 0, 4, 4, 2, 1, 4, 0, 3)

PROJECTS = ("shop", "billing", "portal", "intranet", "orders", "tickets")
CITIES = ("tpe", "khh", "nrt", "fra", "iad", "syd")
PATHS = ("/api/v1/items", "/api/v1/items/{id}", "/api/v1/orders", "/api/v1/orders/{id}", "/api/v1/login", "/api/v1/search", "/health", "/docs")
QUERIES = (
    "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.status = $1 ORDER BY o.created_at DESC LIMIT $2",
    "SELECT items.id, items.name, items.price FROM items WHERE items.name ILIKE $1",
    "UPDATE items SET stock = stock - $1 WHERE id = $2",
    "INSERT INTO events (kind, payload, created_at) VALUES ($1, $2, now())",
    "SELECT count(*) FROM orders WHERE created_at > now() - interval $1",
    "SELECT users.id, users.email FROM users WHERE users.email = $1",
    "DELETE FROM sessions WHERE expires_at < $1",
    "SELECT version_num FROM alembic_version",
)

#: What the application logs in its trouble: message, logger, kind of _app_errors.py, exception and what it names.
MESSAGES: dict[str, tuple[str, str, str, t.Optional[str], dict[str, str]]] = {
    "database-stopped": (
        'connection to server at "172.18.0.3", port 5432 failed: Connection refused',
        "app.db",
        "database-refused",
        "OperationalError",
        {"host": "172.18.0.3", "port": "5432"},
    ),
    "pending-migration": ("column items.discount does not exist", "app.api.items", "column-missing", "UndefinedColumn", {"column": "items.discount"}),
    "jwt-mismatch": ("Signature verification failed", "JWTParser", "jwt-bad-signature", "InvalidSignatureError", {}),
    "out-of-memory": ("task import_catalogue was lost: worker exited with signal 9", "app.worker", "unhandled", None, {}),
}


def make_report(hosts: int, seed: int = 7, language: str = "en", now: datetime.datetime = NOW) -> Json:
    """Return a report of *hosts* hosts as ``report.json`` holds it."""
    rows: dict[str, Json] = {}
    changes: dict[str, list[t.Any]] = {"new": [], "ongoing": [], "resolved": []}
    for number in range(hosts):
        host = _host(number, seed, language, now)
        rows[host.name] = host.row()
        for finding in rows[host.name]["findings"]:
            if finding["result"] == "fire":
                is_new = host.trouble != "slow-query" and host.rng.random() < 0.6
                finding["since"] = _time(now if is_new else now - datetime.timedelta(minutes=host.rng.randint(30, 4000)))
                changes["new" if is_new else "ongoing"].append(_change(host.name, finding))
    if hosts:
        changes["resolved"].append(_resolved(next(iter(rows)), language, now))
    return {
        "schema": 1,
        "generated_at": _time(now),
        "collection_version": "1.0.0",
        "language": language,
        "summary": _summary(rows),
        "hosts": rows,
        "fleet_findings": _fleet_findings(rows, language, now),
        "changes": changes,
        "silences": [],
    }


def with_history(report: Json, runs: int, seed: int = 7) -> Json:
    """Return *report* as the last of so many hourly runs; one of those before could not read any log."""
    rng = random.Random(seed)
    metrics = FleetMetrics()
    for row in report["hosts"].values():
        metrics.add(row.get("facts") or {})
    last = entry_of({**report, "metrics": metrics.view()})
    now = datetime.datetime.fromisoformat(report["generated_at"].replace("Z", "+00:00"))
    before = []
    for number in range(runs - 1):
        of_logs = ("errors_per_minute", "requests", "requests_5xx", "request_p95_ms")
        values = {
            name: None if value is None or (number == runs // 2 and name in of_logs) else round(value * rng.uniform(0.5, 1.0), 2)
            for name, value in last["metrics"].items()
        }
        findings = {severity: int(count * rng.uniform(0.2, 1.0)) for severity, count in last["findings"].items()}
        before.append({**last, "generated_at": _time(now - datetime.timedelta(hours=runs - 1 - number)), "metrics": values, "findings": findings})
    return {**report, "history": [*before, last]}


def make_facts(number: int, seed: int = 7, now: datetime.datetime = NOW) -> Json:
    """Return what ``stack_facts`` would return of host *number* of the same fleet: ``{schema, host, facts}``."""
    return _host(number, seed, "en", now).facts()


def _host(number: int, seed: int, language: str, now: datetime.datetime) -> Host:
    rng = random.Random(seed * 1_000_003 + number)
    trouble = TROUBLES[number] if number < len(TROUBLES) else rng.choices(TROUBLES, WEIGHTS)[0]
    return Host(f"{rng.choice(CITIES)}-app-{number + 1:02d}", trouble, rng, language, now)


def _change(host: str, finding: Json) -> Json:
    return {"host": host, **{key: finding[key] for key in ("id", "rule", "severity", "object", "title", "since")}}


def _time(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _finding_id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _summary(rows: dict[str, Json]) -> Json:
    statuses = [row["status"] for row in rows.values()]
    return {"hosts": len(rows), **{status: statuses.count(status) for status in ("ok", "warning", "critical", "unknown", "unreachable")}}


def _envelope(status: str, summary: str = "", errors: t.Sequence[Json] = (), **domain: t.Any) -> Json:
    return {"status": status, "summary": summary, "metrics": {}, "errors": list(errors), **domain}


def _resolved(host: str, language: str, now: datetime.datetime) -> Json:
    title = {"en": "The log volume was 93 % full", "zh_TW": "日誌磁碟區使用率 93 %"}[language]
    return {
        "id": _finding_id(host, "filesystem-nearly-full"),
        "host": host,
        "rule": "filesystem-nearly-full",
        "severity": "warning",
        "object": "/var/log",
        "title": title,
        "since": _time(now - datetime.timedelta(hours=9)),
    }


def _fleet_findings(rows: dict[str, Json], language: str, now: datetime.datetime) -> list[Json]:
    affected = [name for name, row in rows.items() if any(f["rule"] == "certificate-expires-soon" for f in row["findings"])]
    if len(affected) < 2:
        return []
    texts = {
        "en": (
            "The same certificate expires on several hosts",
            f"{len(affected)} hosts serve one certificate that ends in 9 days.",
            "Renew it once and distribute it to all of them.",
        ),
        "zh_TW": ("多台主機使用同一張即將到期的憑證", f"{len(affected)} 台主機使用同一張 9 天後到期的憑證。", "更新憑證一次，再部署到所有主機。"),
    }[language]
    return [
        {
            "id": _finding_id("fleet", "certificate"),
            "rule": "fleet-certificate-expires",
            "severity": "warning",
            "result": "fire",
            "object": None,
            "title": texts[0],
            "cause": texts[1],
            "evidence": {"hosts": affected[:20], "tls_days_left": 9},
            "fix": [texts[2]],
            "verify": "openssl s_client -connect HOST:443 </dev/null | openssl x509 -noout -enddate",
            "effects": [],
            "since": _time(now),
            "confidence": "high",
            "category": "network",
        }
    ]


class Host:
    """One made-up host with at most one trouble."""

    def __init__(self, name: str, trouble: str, rng: random.Random, language: str, now: datetime.datetime) -> None:
        self.name = name
        self.trouble = trouble
        self.rng = rng
        self.language = language
        self.now = now
        self.project = rng.choice(PROJECTS)
        self.api = rng.choice(("backend", "api", "web"))
        self.db = rng.choice(("db", "postgres", "database"))

    def row(self) -> Json:
        """Return this host's entry of ``hosts``."""
        if self.trouble == "unreachable":
            reason = f"Failed to connect to the host via ssh: ssh: connect to host {self.name} port 22: Connection timed out"
            return {"status": "unreachable", "findings": [], "facts": {}, "reason": reason}
        findings = self.findings()
        order = ("critical", "warning")
        fired = [f["severity"] for f in findings if f["result"] == "fire"]
        status = next((severity for severity in order if severity in fired), "unknown" if any(f["result"] == "unknown" for f in findings) else "ok")
        facts = self.facts()
        counts = {result: sum(f["result"] == result for f in findings) for result in ("fire", "unknown", "error", "silenced")}
        counts["pass"] = RULE_COUNT - sum(counts.values())
        return {
            "status": status,
            "host": {**facts["host"], "name": self.name},
            "findings": findings,
            "counts": counts,
            "unknown_rules": [f["rule"] for f in findings if f["result"] == "unknown"],
            "facts": facts["facts"],
        }

    # Findings

    def _finding(self, rule: str, severity: str, item: str, texts: dict[str, tuple[str, str]], fix: t.Sequence[str], **more: t.Any) -> Json:
        title, cause = texts[self.language]
        finding: Json = {
            "id": _finding_id(self.name, rule, item),
            "rule": rule,
            "severity": severity,
            "result": "fire",
            "object": item,
            "title": title,
            "cause": cause,
            "evidence": {},
            "fix": list(fix),
            "verify": None,
            "effects": [],
            "since": _time(self.now),
            "confidence": "high",
            "category": "compose",
            "references": [],
        }
        finding.update(more)
        return finding

    def _text(self, english: str, chinese: str) -> str:
        return {"en": english, "zh_TW": chinese}[self.language]

    def findings(self) -> list[Json]:
        """Return the findings, root causes before what they explain."""
        make = getattr(self, "_findings_" + self.trouble.replace("-", "_"), None)
        findings: list[Json] = make() if make else []
        for root in findings:
            for finding in findings:
                if finding["id"] in root["effects"]:
                    finding["effect_of"] = [root["id"]]
        return findings

    def _findings_database_stopped(self) -> list[Json]:
        db, api = f"{self.project}/{self.db}", f"{self.project}/{self.api}"
        effects = [
            self._finding(
                "database-login-refused",
                "critical",
                f"{api} DATABASE_URL",
                {
                    "en": (f"{api} cannot log in to its database", f"Connecting to {self.db}:5432 is refused: nothing listens there."),
                    "zh_TW": (f"{api} 無法登入資料庫", f"連線 {self.db}:5432 被拒絕：沒有程式在該連接埠監聽。"),
                },
                [],
                category="postgres",
                evidence={"host": self.db, "port": 5432, "failure": "refused"},
            ),
            self._finding(
                "container-unhealthy",
                "critical",
                api,
                {
                    "en": (f"{api} is unhealthy", "Its health check answers 503: the database connection fails."),
                    "zh_TW": (f"{api} 健康檢查失敗", "健康檢查回應 503：資料庫連線失敗。"),
                },
                [f"`docker logs --tail 50 {self.project}-{self.api}-1`"],
                evidence={"failing_streak": 14, "last_output": '{"status":"unhealthy","database":"connection refused"}'},
            ),
            self._finding(
                "endpoint-failing",
                "critical",
                "http://localhost:8000/health",
                {"en": ("GET /health answers 503", "Expected 200."), "zh_TW": ("GET /health 回應 503", "預期為 200。")},
                [],
                category="health",
                evidence={"http_status": 503, "expected_status": [200], "time_total_ms": 38.2},
            ),
            self._finding(
                "error-burst",
                "warning",
                "logs/app.log",
                {
                    "en": ("412 errors in the last hour, 3 in the hour before", "Almost all of them are OperationalError: connection refused."),
                    "zh_TW": ("過去一小時有 412 筆錯誤，前一小時為 3 筆", "幾乎全部是 OperationalError：connection refused。"),
                },
                [],
                category="logs",
                evidence={"errors": 412, "baseline_errors": 3, "peak_minute_errors": 31},
            ),
        ]
        root = self._finding(
            "database-not-running",
            "critical",
            db,
            {
                "en": (
                    f"PostgreSQL {db} is stopped",
                    'The container was stopped 26 minutes ago with exit code 0 and its restart policy is "no", so nothing starts it again.',
                ),
                "zh_TW": (f"PostgreSQL {db} 已停止", '容器於 26 分鐘前停止(結束代碼 0),且重啟策略為 "no",因此不會自動重新啟動。'),
            },
            [
                self._text("Start it again:", "重新啟動：") + f" `docker compose --project-directory /srv/{self.project} start {self.db}`",
                self._text(
                    f"So that it comes back by itself, set `restart: unless-stopped` for {self.db} in the Compose file.",
                    f"若要自動恢復，請在 Compose 檔為 {self.db} 設定 `restart: unless-stopped`。",
                ),
            ],
            category="postgres",
            effects=[e["id"] for e in effects],
            verify=f"docker compose --project-directory /srv/{self.project} ps {self.db}",
            evidence={
                "state": "exited",
                "exit_code": 0,
                "finished_at": _time(self.now - datetime.timedelta(minutes=26)),
                "restart_policy": "no",
                "last_log_lines": ["LOG:  received fast shutdown request", "LOG:  database system is shut down"],
            },
        )
        return [root, *effects]

    def _findings_slow_query(self) -> list[Json]:
        api = f"{self.project}/{self.api}"
        slow = self._finding(
            "slow-requests",
            "warning",
            api,
            {
                "en": ("18.4 % of the requests took longer than 1 s", "The worst path is GET /api/v1/orders with a p95 of 2.9 s."),
                "zh_TW": ("18.4 % 的請求超過 1 秒", "最慢的路徑是 GET /api/v1/orders,p95 為 2.9 秒。"),
            },
            [],
            category="logs",
            evidence={"slow": 219, "requests": 1190, "p95_ms": 2911.0, "p99_ms": 4120.4},
        )
        query = self._finding(
            "slow-query",
            "warning",
            f"{self.project}/{self.db} 4826195530142",
            {
                "en": (
                    "A query on orders takes 1.84 s on average",
                    "The table orders (2.1 million rows) is read sequentially for each call: no index serves status, created_at.",
                ),
                "zh_TW": ("orders 查詢平均耗時 1.84 秒", "每次呼叫都循序掃描 orders（210 萬列）：status、created_at 沒有可用的索引。"),
            },
            [
                self._text("Look at its plan:", "查看執行計畫：")
                + f" `docker exec -it {self.project}-{self.db}-1 psql -U app -d app -c 'EXPLAIN (ANALYZE, BUFFERS) {QUERIES[0][:60]}…'`",
                self._text("Create the index without blocking writers:", "以不阻塞寫入的方式建立索引：")
                + " `CREATE INDEX CONCURRENTLY ON orders (status, created_at DESC);`",
            ],
            category="postgres",
            effects=[slow["id"]],
            confidence="medium",
            verify=f"ansible-playbook stackops.runbook.diagnose -l {self.name}",
            evidence={"mean_exec_time_ms": 1843.7, "calls": 5312, "percent_of_total": 71.3, "query": QUERIES[0], "sequential_scans": 5312, "rows": 2104113},
        )
        silenced = self._finding(
            "image-tag-moved",
            "info",
            api,
            {
                "en": (f"{api} runs an older image than its tag names", "The local tag was rebuilt after the container was created."),
                "zh_TW": (f"{api} 執行的映像檔比標籤舊", "容器建立之後，本機標籤已重新建置。"),
            },
            [],
            result="silenced",
            silence={
                "rule": "image-tag-moved",
                "object": "*",
                "host": "*",
                "reason": self._text("Rolled out on Tuesday", "週二部署"),
                "expires": "2026-11-25T00:00:00Z",
            },
        )
        return [query, slow, silenced]

    def _findings_pending_migration(self) -> list[Json]:
        api = f"{self.project}/{self.api}"
        effect = self._finding(
            "log-undefined-column",
            "critical",
            api,
            {
                "en": ("column items.discount does not exist (96 times)", "The code expects a column that the database does not have yet."),
                "zh_TW": ("欄位 items.discount 不存在（96 次）", "程式預期的欄位在資料庫中尚不存在。"),
            },
            [],
            category="logs",
            evidence={"count": 96, "sample": "psycopg2.errors.UndefinedColumn: column items.discount does not exist"},
        )
        root = self._finding(
            "migration-pending",
            "critical",
            api,
            {
                "en": ("The database is one migration behind the code", "The code's head is 7c1f09ab42de, the database is at 3b9d2c77e1f0."),
                "zh_TW": ("資料庫落後程式碼一個遷移版本", "程式碼的 head 為 7c1f09ab42de，資料庫為 3b9d2c77e1f0。"),
            },
            [
                self._text("Take a backup first:", "請先備份：") + f" `ansible-playbook stackops.runbook.backup -l {self.name}`",
                f"`docker compose --project-directory /srv/{self.project} exec {self.api} alembic upgrade head`",
            ],
            category="migrations",
            effects=[effect["id"]],
            verify=f"docker compose --project-directory /srv/{self.project} exec {self.api} alembic current",
            evidence={"current": ["3b9d2c77e1f0"], "heads": ["7c1f09ab42de"], "pending": [{"revision": "7c1f09ab42de", "message": "add discount to items"}]},
        )
        return [root, effect]

    def _findings_disk_full(self) -> list[Json]:
        return [
            self._finding(
                "filesystem-nearly-full",
                "warning",
                "/var/lib/docker",
                {
                    "en": ("/var/lib/docker is 91 % full, 4.6 GiB left", "Docker could give back 12.4 GiB of unused images and build cache."),
                    "zh_TW": ("/var/lib/docker 使用率 91 %，剩餘 4.6 GiB", "Docker 可回收 12.4 GiB 未使用的映像檔與建置快取。"),
                },
                [
                    self._text("See what is reclaimable, then remove what is not used:", "先查看可回收的空間，再移除未使用的資料：") + " `docker system df`",
                    "`docker image prune --all --filter until=168h`",
                ],
                category="host",
                verify="df -h /var/lib/docker",
                evidence={"used_percent": 91.2, "available_bytes": 4_939_212_390, "reclaimable_bytes": 13_314_398_617},
            )
        ]

    def _findings_out_of_memory(self) -> list[Json]:
        worker = f"{self.project}/worker"
        effect = self._finding(
            "container-restart-loop",
            "critical",
            worker,
            {
                "en": (f"{worker} restarts again and again (17 times)", "Each start ends in the same kill."),
                "zh_TW": (f"{worker} 反覆重新啟動（17 次）", "每次啟動都以相同原因終止。"),
            },
            [],
            evidence={"restart_count": 17},
        )
        return [
            self._finding(
                "container-oom-killed",
                "critical",
                worker,
                {
                    "en": (f"{worker} was killed for memory", "It reached its limit of 256 MiB; the kernel killed python3."),
                    "zh_TW": (f"{worker} 因記憶體不足被終止", "已達 256 MiB 上限；核心終止了 python3。"),
                },
                [
                    self._text(
                        "Raise `mem_limit` in the Compose file, or lower the number of workers, then:",
                        "請在 Compose 檔提高 `mem_limit` 或減少 worker 數，然後執行：",
                    )
                    + f" `docker compose --project-directory /srv/{self.project} up -d worker`",
                ],
                effects=[effect["id"]],
                verify=f"docker inspect -f '{{{{.State.OOMKilled}}}} {{{{.RestartCount}}}}' {self.project}-worker-1",
                evidence={
                    "memory_bytes": 268_435_456,
                    "exit_code": 137,
                    "oom_killed": True,
                    "kernel": "Memory cgroup out of memory: Killed process 48213 (python3) total-vm:612344kB, anon-rss:258112kB",
                },
            ),
            effect,
        ]

    def _findings_not_root(self) -> list[Json]:
        reason = self._text(
            "not root: /proc/<pid>/ns/net could not be opened. Run with become: true.", "非 root：無法開啟 /proc/<pid>/ns/net。請以 become: true 執行。"
        )
        titles = {
            "database-name-unresolvable": self._text("Is the database's name resolvable from the application?", "應用程式能否解析資料庫名稱？"),
            "database-unreachable": self._text("Does the application reach its database?", "應用程式能否連線資料庫？"),
            "host-oom-kill": self._text("Did the kernel kill processes for memory?", "核心是否因記憶體不足終止程序？"),
        }
        return [
            self._finding(rule, "critical", f"{self.project}/{self.api}", {self.language: (title, "")}, [], result="unknown", category="network", reason=reason)
            for rule, title in titles.items()
        ]

    def _findings_jwt_mismatch(self) -> list[Json]:
        api = f"{self.project}/{self.api}"
        return [
            self._finding(
                "jwt-secret-mismatch",
                "critical",
                api,
                {
                    "en": (
                        "Tokens are refused: signature verification failed (238 times)",
                        "The service that signs and the one that verifies do not share one secret.",
                    ),
                    "zh_TW": ("權杖遭拒：簽章驗證失敗（238 次）", "簽發與驗證權杖的服務使用不同的密鑰。"),
                },
                [
                    self._text("Compare where each takes its secret from (prints a fingerprint, not the secret):", "比對各服務的密鑰來源（僅顯示指紋）：")
                    + f" `docker exec {self.project}-{self.api}-1 sh -c 'printf %s \"$JWT_SECRET\" | sha256sum | cut -c1-8'`",
                ],
                category="logs",
                confidence="medium",
                evidence={"count": 238, "logger": "JWTParser", "unauthorized_401": 251},
            )
        ]

    def _findings_port_taken(self) -> list[Json]:
        return [
            self._finding(
                "port-already-taken",
                "critical",
                f"{self.project}/{self.api}",
                {
                    "en": (
                        "Port 8000 is held by another process",
                        "python3 (pid 2210) listens on 0.0.0.0:8000, so the container was created and never started.",
                    ),
                    "zh_TW": ("連接埠 8000 已被其他程序佔用", "python3（pid 2210）正在監聽 0.0.0.0:8000，因此容器建立後未能啟動。"),
                },
                ["`ss -ltnp 'sport = :8000'`"],
                category="network",
                evidence={"host_port": 8000, "held_by": "python3", "held_by_pid": 2210},
            )
        ]

    def _findings_certificate(self) -> list[Json]:
        return [
            self._finding(
                "certificate-expires-soon",
                "warning",
                f"https://{self.name}.example.org/",
                {
                    "en": ("The certificate ends in 9 days", "Issued for *.example.org, not renewed yet."),
                    "zh_TW": ("憑證將於 9 天後到期", "簽發給 *.example.org，尚未更新。"),
                },
                ["`certbot renew --dry-run`"],
                category="network",
                evidence={"tls_days_left": 9},
            )
        ]

    def _findings_no_statements(self) -> list[Json]:
        return [
            self._finding(
                "statements-not-available",
                "info",
                f"{self.project}/{self.db}",
                {
                    "en": ("pg_stat_statements is not preloaded", "Slow queries cannot be seen on this server."),
                    "zh_TW": ("pg_stat_statements 未預先載入", "無法查看此伺服器的慢查詢。"),
                },
                ["`ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements';`", self._text("Then restart the server.", "然後重新啟動伺服器。")],
                category="postgres",
                evidence={"failure": "not-preloaded"},
            )
        ]

    # Facts

    def facts(self) -> Json:
        """Return what ``stack_facts`` would return of this host."""
        return {
            "schema": 1,
            "host": {
                "hostname": self.name,
                "os": self.rng.choice(("Debian GNU/Linux 12 (bookworm)", "Ubuntu 24.04.1 LTS", "Rocky Linux 9.4 (Blue Onyx)")),
                "kernel": "6.1.0-28-amd64",
                "python_version": "3.11.2",
                "is_root": self.trouble != "not-root",
                "collected_at": _time(self.now),
                "duration_ms": round(self.rng.uniform(900, 2600), 1),
            },
            "facts": {
                "engine": _envelope(
                    "ok",
                    reachable=True,
                    version="27.3.1",
                    api_version="1.47",
                    flavour="docker",
                    rootless=False,
                    remote=False,
                    storage_driver="overlay2",
                    cgroup_version="2",
                    root_dir="/var/lib/docker",
                    compose_version="2.29.7",
                    compose_command=["docker", "compose"],
                    failure=None,
                ),
                "compose": self._compose(),
                "http": self._http(),
                "logs": self._logs(),
                "requests": self._requests(),
                "postgres": self._postgres(),
                "database_logins": self._logins(),
                "migrations": self._migrations(),
                "links": self._links(),
                "ports": self._ports(),
                "firewall": self._firewall(),
                "host": self._resources(),
            },
        }

    def _compose(self) -> Json:
        containers = [
            self._container(self.api, "application"),
            self._container(self.db, "postgres"),
            self._container("worker", "application"),
            self._container("proxy", "proxy"),
        ]
        services = [
            {
                "name": c["service"],
                "role": c["role"],
                "image": c["image"]["reference"],
                "status": c["status"],
                "expected_replicas": 1,
                "running_replicas": int(c["state"] == "running"),
                "missing": False,
                "orphan": False,
                "one_shot": False,
                "has_healthcheck": True,
                "depends_on": [],
            }
            for c in containers
        ]
        project = {
            "name": self.project,
            "flavour": "compose-v2",
            "working_dir": f"/srv/{self.project}",
            "config_files": [f"/srv/{self.project}/compose.yml"],
            "config_readable": True,
            "config_error": None,
            "env_file": f"/srv/{self.project}/.env",
            "env_newer_than_containers": [],
            "services": services,
        }
        return _envelope("ok", projects=[project], containers=containers)

    def _container(self, service: str, role: str) -> Json:
        state, status, health, code, cause, lines, restarts = "running", "ok", "healthy", None, None, [], 0
        if self.trouble == "database-stopped" and role == "postgres":
            state, status, health, code = "exited", "critical", "none", 0
            lines = ["LOG:  received fast shutdown request", "LOG:  aborting any active transactions", "LOG:  database system is shut down"]
            cause = self._cause("terminated", "Stopped 26 minutes ago with exit code 0")
        elif self.trouble == "database-stopped" and service == self.api:
            status, health = "critical", "unhealthy"
            cause = self._cause("unhealthy", "The health check answers 503")
        elif self.trouble == "out-of-memory" and service == "worker":
            state, status, health, code, restarts = "restarting", "critical", "none", 137, 17
            cause = self._cause("oom-container", "Killed for memory at its limit of 256 MiB")
        elif self.trouble == "port-taken" and service == self.api:
            state, status, health = "created", "critical", "none"
            cause = self._cause("port-already-allocated", "0.0.0.0:8000 is held by python3 (pid 2210)")
        limit = 268_435_456 if service == "worker" else 1_073_741_824
        used = int(limit * self.rng.uniform(0.2, 0.8))
        uptime = round(self.rng.uniform(3600, 4_000_000), 1)
        return {
            "id": f"{self.rng.getrandbits(48):012x}",
            "name": f"{self.project}-{service}-1",
            "project": self.project,
            "service": service,
            "role": role,
            "replica": 1,
            "oneoff": False,
            "state": state,
            "status": status,
            "exit_code": code,
            "state_error": None,
            "oom_killed": code == 137,
            "restart_count": restarts,
            "restart_policy": "unless-stopped",
            "created_at": _time(self.now - datetime.timedelta(seconds=uptime + 2)),
            "started_at": _time(self.now - datetime.timedelta(seconds=uptime)),
            "finished_at": None,
            "uptime_seconds": uptime if state == "running" else None,
            "pid": self.rng.randint(900, 60000) if state == "running" else 0,
            "command": ["uvicorn", "app.main:app", "--host", "0.0.0.0"],
            "config_hash": f"{self.rng.getrandbits(128):032x}",
            "log_driver": "json-file",
            "health": {
                "status": health,
                "stale": False,
                "failing_streak": 14 if health == "unhealthy" else 0,
                "test": ["CMD", "curl", "-fsS", "http://localhost:8000/health"],
                "interval_seconds": 10,
                "timeout_seconds": 3,
                "retries": 3,
                "start_period_seconds": 5,
                "last_exit_code": 1 if health == "unhealthy" else 0,
                "last_output": '{"status":"unhealthy","database":"connection refused"}' if health == "unhealthy" else '{"status":"healthy"}',
                "last_probe_at": _time(self.now),
                "failure": "http-status" if health == "unhealthy" else None,
                "http_status": 503 if health == "unhealthy" else 200,
                "url": "http://localhost:8000/health",
            },
            "limits": {"memory_bytes": limit, "cpus": None, "pids": None},
            "stats": {
                "available": state == "running",
                "cpu_percent": round(self.rng.uniform(0.2, 38), 1),
                "memory_bytes": used,
                "memory_lowest_bytes": used,
                "memory_percent": round(used / limit * 100, 1),
                "pids": self.rng.randint(3, 40),
            },
            "ports": [{"container_port": 8000, "protocol": "tcp", "host_ip": "127.0.0.1", "host_port": 8000}] if service == self.api else [],
            "networks": [{"name": f"{self.project}_default", "ip_address": f"172.18.0.{self.rng.randint(2, 60)}", "aliases": [service]}],
            "mounts": [],
            "image": {
                "reference": f"registry.example.org/{self.project}/{service}:2.14",
                "id": "sha256:" + hashlib.sha256(f"{self.project}/{service}:2.14".encode()).hexdigest(),
                "local_tag_id": None,
                "tag_moved": False,
            },
            "depends_on": [],
            "database_urls": [],
            "last_log_lines": lines,
            "cause": cause,
        }

    @staticmethod
    def _cause(code: str, summary: str) -> Json:
        return {"code": code, "confidence": "high", "summary": summary, "error": None, "evidence": [{"source": "inspect", "text": summary}]}

    def _http(self) -> Json:
        failing = self.trouble == "database-stopped"
        endpoints = []
        for path, base in (("/health", 9.0), ("/docs", 4.0), ("/api/v1/items", 28.0)):
            total = round(base * self.rng.uniform(0.7, 2.4) * (24 if self.trouble == "slow-query" and path.startswith("/api") else 1), 2)
            bad = failing and path != "/docs"
            endpoints.append(
                {
                    "name": f"{self.project}/{self.api} {path}",
                    "project": self.project,
                    "service": self.api,
                    "origin": "discovered",
                    "method": "GET",
                    "url": f"http://127.0.0.1:8000{path}",
                    "via": "host",
                    "status": "critical" if bad else "ok",
                    "reachable": True,
                    "http_status": 503 if bad else 200,
                    "expected_status": [200],
                    "failure": "unexpected-status" if bad else None,
                    "message": "503 Service Unavailable" if bad else None,
                    "body_excerpt": None,
                    "time_name_lookup_ms": 0.05,
                    "time_connect_ms": round(total * 0.04, 2),
                    "time_tls_ms": None,
                    "time_first_byte_ms": round(total * 0.93, 2),
                    "time_total_ms": total,
                    "tls_expires_at": None,
                    "tls_days_left": None,
                    "redirects": 0,
                    "attempts": 1,
                }
            )
        return _envelope("critical" if failing else "ok", endpoints=endpoints)

    def _minutes(self, base_errors: float, burst: int) -> list[Json]:
        start = self.now - datetime.timedelta(minutes=WINDOW_MINUTES)
        minutes = []
        for minute in range(WINDOW_MINUTES):
            records = int(self.rng.gauss(180, 26))
            errors = int(self.rng.random() < base_errors)
            if burst and minute >= 34:
                errors += int(burst * self.rng.uniform(0.5, 1.0))
            minutes.append({"minute": _time(start + datetime.timedelta(minutes=minute)), "records": max(records, errors), "errors": errors})
        return minutes

    def _logs(self) -> Json:
        bursts = {"database-stopped": 22, "pending-migration": 5, "jwt-mismatch": 9, "out-of-memory": 2}
        sources = []
        for name, kind, burst in (
            (f"/srv/{self.project}/logs/app.log", "file", bursts.get(self.trouble, 0)),
            (f"container:{self.project}-{self.db}-1", "container", 0),
        ):
            histogram = self._minutes(0.05, burst)
            errors = sum(minute["errors"] for minute in histogram)
            records = sum(minute["records"] for minute in histogram)
            peak = max(histogram, key=lambda minute: minute["errors"])
            groups = [self._message(errors)] if burst else []
            sources.append(
                {
                    "name": name,
                    "project": self.project,
                    "service": self.api if kind == "file" else self.db,
                    "type": kind,
                    "status": "critical" if burst > 8 else "ok",
                    "reason": None,
                    "format": "json" if kind == "file" else "text",
                    "paths": [name],
                    "read_bytes": records * 212,
                    "truncated": False,
                    "lines": records,
                    "unparsed_lines": 0,
                    "errors": errors,
                    "warnings": errors // 3,
                    "error_percent": round(errors / records * 100, 2) if records else None,
                    "errors_per_minute": round(errors / WINDOW_MINUTES, 2),
                    "peak_minute": peak["minute"],
                    "peak_minute_errors": peak["errors"],
                    "baseline_errors": 3,
                    "last_record_at": _time(self.now),
                    "last_record_age_seconds": 2.0,
                    "time_assumption": None,
                    "histogram": histogram,
                    "groups": groups,
                }
            )
        if self.trouble == "not-root":
            sources[1].update(status="unknown", reason="permission-denied", histogram=[], lines=0, errors=0)
        kinds = [
            {
                "kind": group["error"]["kind"],
                "project": self.project,
                "service": self.api,
                "count": group["count"],
                "exception": group["error"]["exception"],
                "sample": group["sample"],
                "parameters": group["error"]["parameters"],
                "first_seen": group["first_seen"],
                "last_seen": group["last_seen"],
            }
            for source in sources
            for group in source["groups"]
        ]
        start = _time(self.now - datetime.timedelta(hours=1))
        return _envelope("ok", window_seconds=3600, window_start=start, window_end=_time(self.now), sources=sources, kinds=kinds)

    def _message(self, count: int) -> Json:
        sample, logger, error_kind, exception, parameters = MESSAGES[self.trouble]
        return {
            "shape": sample,
            "count": count,
            "level": "error",
            "first_seen": _time(self.now - datetime.timedelta(minutes=26)),
            "last_seen": _time(self.now),
            "sample": sample,
            "logger": logger,
            "is_new": True,
            "error": {"kind": error_kind, "exception": exception, "message": sample, "parameters": parameters},
        }

    def _requests(self) -> Json:
        slow = self.trouble == "slow-query"
        paths: list[Json] = []
        for path in PATHS:
            p50 = self.rng.uniform(4, 60) * (14 if slow and "orders" in path else 1)
            paths.append(
                {
                    "path": path,
                    "method": "GET",
                    "count": self.rng.randint(20, 900),
                    "slow": 110 if slow and "orders" in path else 0,
                    "errors_5xx": 0,
                    "p50_ms": round(p50, 1),
                    "p95_ms": round(p50 * self.rng.uniform(2, 4), 1),
                    "max_ms": round(p50 * self.rng.uniform(5, 9), 1),
                }
            )
        source = {
            "name": f"/srv/{self.project}/logs/app.log",
            "project": self.project,
            "service": self.api,
            "status": "warning" if slow else "ok",
            "requests": sum(int(path["count"]) for path in paths),
            "slow": sum(int(path["slow"]) for path in paths),
            "slow_percent": 18.4 if slow else 0.0,
            "errors_5xx": 390 if self.trouble == "database-stopped" else 0,
            "errors_5xx_percent": 31.0 if self.trouble == "database-stopped" else 0.0,
            "client_errors_4xx": 12,
            "unauthorized_401": 251 if self.trouble == "jwt-mismatch" else 4,
            "p50_ms": 38.1,
            "p95_ms": 2911.0 if slow else 142.6,
            "p99_ms": 4120.4 if slow else 388.9,
            "max_ms": 6230.0 if slow else 911.0,
            "paths": paths,
        }
        return _envelope("ok", window_seconds=3600, slow_request_ms=1000, sources=[source])

    def _postgres(self) -> Json:
        down = self.trouble == "database-stopped"
        instance: Json = {
            "name": f"{self.project}/{self.db}",
            "project": self.project,
            "service": self.db,
            "status": "critical" if down else "ok",
            "reachable": not down,
            "via": None if down else "container-network",
            "failure": "not-running" if down else None,
            "message": "the container is not running" if down else None,
        }
        if down:
            return _envelope("critical", instances=[instance])
        no_statements = self.trouble == "no-statements"
        means = sorted((self.rng.uniform(0.2, 60) for dummy in QUERIES), reverse=True)
        if self.trouble == "slow-query":
            means[0] = 1843.7
        queries: list[Json] = []
        for text, mean in zip(QUERIES, means):
            calls = self.rng.randint(300, 60000) if mean < 1000 else 5312
            queries.append(
                {
                    "queryid": str(self.rng.getrandbits(62)),
                    "database": "app",
                    "user": "app",
                    "query": text,
                    "calls": calls,
                    "rows": calls * 3,
                    "mean_exec_time_ms": round(mean, 3),
                    "max_exec_time_ms": round(mean * 4.2, 3),
                    "stddev_exec_time_ms": round(mean * 0.4, 3),
                    "total_exec_time_ms": round(mean * calls, 1),
                    "percent_of_total": None,
                    "rows_per_call": 3.0,
                    "cache_hit_percent": 99.1,
                    "temp_blocks_written": 0,
                    "source": "since_reset",
                }
            )
        total = sum(query["total_exec_time_ms"] for query in queries)
        for query in queries:
            query["percent_of_total"] = round(query["total_exec_time_ms"] / total * 100, 1)
        used = self.rng.randint(9, 61)
        instance.update(
            {
                "version": "17.2 (Debian 17.2-1)",
                "version_number": 170002,
                "database": "app",
                "user": "app",
                "in_recovery": False,
                "read_only": False,
                "statements": {
                    "available": not no_statements,
                    "failure": "not-preloaded" if no_statements else None,
                    "fix": [],
                    "extension_version": "1.11",
                    "evicted": 0,
                    "stats_reset_at": _time(self.now - datetime.timedelta(days=12)),
                    "io_timing": True,
                    "queries": [] if no_statements else queries,
                },
                "connections": {
                    "used": used,
                    "maximum": 100,
                    "reserved": 3,
                    "used_percent": float(used),
                    "by_state": {"active": 3, "idle": used - 3},
                    "by_user": {"app": used},
                    "by_application": {"": used},
                },
                "activity": {"long_running": [], "idle_in_transaction": [], "blocked": []},
                "wraparound": {"max_xid_age": 81_200_311, "freeze_max_age": 200_000_000, "used_percent": 3.8, "database": "app"},
                "tables": [
                    {
                        "name": f"public.{name}",
                        "rows": rows,
                        "size_bytes": rows * 180,
                        "sequential_scans": scans,
                        "index_scans": 120_000,
                        "rows_read_sequentially": rows * scans,
                        "index_use_percent": 95.0,
                        "dead_rows": rows // 40,
                        "dead_percent": 2.4,
                        "last_vacuum_at": _time(self.now - datetime.timedelta(hours=7)),
                        "last_analyze_at": _time(self.now - datetime.timedelta(hours=7)),
                        "missing_index_likely": scans > 1000,
                    }
                    for name, rows, scans in (("orders", 2_104_113, 5312 if self.trouble == "slow-query" else 3), ("items", 48_211, 40), ("users", 9_120, 12))
                ],
                "indexes": {"invalid": [], "unused": [], "duplicate": []},
                "sequences": [],
                "cache_hit_percent": 99.3,
                "deadlocks": 0,
                "temp_bytes": 0,
                "replication_slots": [],
                "settings": {"max_connections": "100", "shared_buffers": "128MB"},
                "size_bytes": 812_445_696,
            }
        )
        return _envelope("ok", instances=[instance])

    def _logins(self) -> Json:
        down = self.trouble == "database-stopped"
        login = {
            "project": self.project,
            "service": self.api,
            "variable": "DATABASE_URL",
            "host": self.db,
            "port": 5432,
            "database": "app",
            "user": "app",
            "target_service": self.db,
            "status": "critical" if down else "ok",
            "accepted": None if down else True,
            "failure": "refused" if down else None,
            "message": "Connection refused" if down else None,
            "sqlstate": None,
        }
        return _envelope(str(login["status"]), logins=[login])

    def _migrations(self) -> Json:
        pending = [{"revision": "7c1f09ab42de", "message": "add discount to items"}] if self.trouble == "pending-migration" else []
        application = {
            "project": self.project,
            "service": self.api,
            "status": "critical" if pending else "ok",
            "tool": "alembic",
            "script_location": "/app/migrations",
            "heads": ["7c1f09ab42de"],
            "current": ["3b9d2c77e1f0" if pending else "7c1f09ab42de"],
            "pending": pending,
            "multiple_heads": False,
            "database_ahead": False,
            "unknown_revision": None,
            "state": "pending" if pending else "up-to-date",
            "reason": None,
        }
        return _envelope(str(application["status"]), applications=[application])

    def _links(self) -> Json:
        down, blind = self.trouble == "database-stopped", self.trouble == "not-root"
        link = {
            "project": self.project,
            "from_service": self.api,
            "to_host": self.db,
            "to_port": 5432,
            "to_service": self.db,
            "origin": "environment",
            "status": "critical" if down else "unknown" if blind else "ok",
            "resolved": None if blind else not down,
            "addresses": ["172.18.0.3"],
            "connected": None if blind else not down,
            "connect_ms": None if down or blind else 0.21,
            "failure": "not-running" if down else "not-permitted" if blind else None,
            "shared_networks": [f"{self.project}_default"],
        }
        errors = [{"source": f"{self.project}/{self.api}", "reason": "/proc/4120/ns/net: Permission denied", "hint": "Run with become: true."}] if blind else []
        return _envelope(str(link["status"]), errors=errors, links=[link])

    def _ports(self) -> Json:
        published = [
            {
                "project": self.project,
                "service": self.api,
                "container": f"{self.project}-{self.api}-1",
                "container_port": 8000,
                "protocol": "tcp",
                "host_ip": "127.0.0.1",
                "host_port": 8000,
                "listening_on_host": True,
                "listening_in_container": True,
                "bound_to_loopback_inside": False,
                "world_reachable_bind": False,
            }
        ]
        listeners = [
            {"protocol": "tcp", "address": "0.0.0.0", "port": port, "pid": 700 + port, "process": process, "container": None}
            for port, process in ((22, "sshd"), (80, "docker-proxy"), (443, "docker-proxy"))
        ]
        conflicts = [{"host_port": 8000, "protocol": "tcp", "wanted_by": f"{self.project}/{self.api}", "held_by": "python3", "held_by_pid": 2210}]
        return _envelope("ok", published=published, listeners=listeners, conflicts=conflicts if self.trouble == "port-taken" else [])

    def _firewall(self) -> Json:
        def port(label: str, number: int, version: int, word: str, verdict: str, status: str, reason: str, **more: t.Any) -> Json:
            published = "/" in label
            return {
                "label": label,
                "origin": "published" if published else "process",
                "project": label.partition("/")[0] if published else None,
                "service": label.partition("/")[2] if published else None,
                "container": f"{label.replace('/', '-')}-1" if published else None,
                "process": None if published else label,
                "container_port": number if published else None,
                "host_ip": "0.0.0.0" if version == 4 else "::",
                "host_port": number,
                "protocol": "tcp",
                "family": f"ipv{version}",
                "class": word,
                "verdict": verdict,
                "status": status,
                "reason": reason,
                "expected": None,
                "reachable_from": [],
                "interfaces": [],
                "path": None,
                "policy": {"engine": "ufw", "verdict": None, "rules": []},
                "evidence": [],
                "fix": [],
                "survives_recreate": None,
                "direct": None,
                **more,
            }

        everybody = {"reachable_from": ["0.0.0.0/0"], "interfaces": ["eth0"]}
        api = f"{self.project}/{self.api}"
        ports = [
            port("sshd", 22, 4, "exposed_intended", "reachable", "ok", "open to everybody, as ufw allows", path="local", **everybody),
            port(api, 8000, 4, "loopback_only", "local", "ok", "bound to this host, and nobody outside gets in", host_ip="127.0.0.1"),
        ]
        if self.trouble == "port-taken":
            reason = "open to everybody although ufw says no: DEFAULT_INPUT_POLICY=DROP"
            rule = "-A DOCKER ! -i br-3f2a -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8000"
            evidence = [{"source": "iptables-nft-save", "table": "nat", "chain": "DOCKER", "rule": rule}]
            ports.append(port(api, 8080, 4, "exposed_bypass", "reachable", "critical", reason, path="forwarded", evidence=evidence, **everybody))
            ports.append(port(api, 8080, 6, "filtered", "filtered", "ok", "the rules let nobody in"))
        host = {
            "engine": "ufw",
            "installed": ["ufw"],
            "not_in_force": [],
            "rules_in": ["iptables-nft"],
            "mixed_iptables": False,
            "rules": 140,
            "readable": True,
            "forwarding": {"ipv4": True, "ipv6": False},
            "strict_forward_ports": None,
            "outside_interfaces": ["eth0"],
            "docker_version": "26.1.5",
        }
        worst = "critical" if any(one["status"] == "critical" for one in ports) else "ok"
        return _envelope(worst, host_firewall=host, ports=ports, missing=[])

    def _resources(self) -> Json:
        cpus = self.rng.choice((2, 4, 8, 16))
        load = self.rng.uniform(0.1, 0.9) * cpus
        memory = cpus * 4 * 1024**3
        full = self.trouble == "disk-full"
        filesystems = []
        for mount, device, size, used, used_for in (
            ("/", "/dev/vda1", 40, 38.0, ["root"]),
            ("/var/lib/docker", "/dev/vdb1", 52, 91.2 if full else 54.0, ["docker"]),
        ):
            filesystems.append(
                {
                    "mount": mount,
                    "device": device,
                    "type": "ext4",
                    "size_bytes": size * 1024**3,
                    "available_bytes": int(size * 1024**3 * (1 - used / 100)),
                    "used_percent": used,
                    "inodes_used_percent": 11.0,
                    "read_only": False,
                    "used_for": used_for,
                    "status": "warning" if used > 90 else "ok",
                }
            )
        processes = [
            {
                "pid": 1000 + i,
                "name": name,
                "user": user,
                "cpu_percent": round(self.rng.uniform(0, 60), 1),
                "memory_bytes": int(self.rng.uniform(20, 700) * 1024**2),
                "container": f"{self.project}-{service}-1" if service else None,
                "project": self.project if service else None,
                "service": service,
            }
            for i, (name, user, service) in enumerate(
                (
                    ("postgres", "postgres", self.db),
                    ("uvicorn", "app", self.api),
                    ("dockerd", "root", None),
                    ("python3", "app", "worker"),
                    ("nginx", "root", "proxy"),
                )
            )
        ]
        return _envelope(
            "warning" if full else "ok",
            cpu_count=cpus,
            load_1m=round(load, 2),
            load_5m=round(load * 0.9, 2),
            load_15m=round(load * 0.8, 2),
            load_per_cpu=round(load * 0.9 / cpus, 2),
            cpu_percent=round(load / cpus * 100, 1),
            cpu_steal_percent=0.0,
            cpu_iowait_percent=0.4,
            memory_total_bytes=memory,
            memory_available_bytes=memory // 2,
            memory_used_percent=50.0,
            swap_total_bytes=0,
            swap_used_bytes=0,
            swap_used_percent=None,
            uptime_seconds=round(self.rng.uniform(86400, 9_000_000), 1),
            clock={"synchronized": True, "offset_ms": round(self.rng.uniform(-4, 4), 2)},
            filesystems=filesystems,
            processes=processes,
            kernel_oom_kills=[],
            docker_disk={
                "images_bytes": 14_120_331_776,
                "containers_bytes": 91_332_608,
                "volumes_bytes": 1_204_224_000,
                "build_cache_bytes": 104_224_000,
                "reclaimable_bytes": 13_314_398_617 if full else 604_224_000,
            },
        )
