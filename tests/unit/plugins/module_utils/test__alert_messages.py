# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages: within what each service takes (tests/unit/fixtures/alert_payloads), and inert whatever is in them."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import hashlib
import hmac
import json
import pathlib
import typing as t

import jsonschema
import pytest
from ansible_collections.stackops.runbook.plugins.module_utils import _alert_messages as messages
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel
from ansible_collections.stackops.runbook.plugins.module_utils._alert_spool import Entry
from ansible_collections.stackops.runbook.plugins.module_utils._monitoring_types import Event
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1795435200.0
SCHEMAS = pathlib.Path(__file__).parents[2] / "fixtures" / "alert_payloads"
CHANNELS = {
    "slack": Channel("ops", "slack", url="https://hooks.slack.com/services/T0/B0/x"),
    "discord": Channel("ops", "discord", url="https://discord.com/api/webhooks/1/x?thread_id=7"),
    "teams": Channel("ops", "teams", url="https://prod.logic.azure.com/workflows/1"),
    "pagerduty": Channel("ops", "pagerduty", url="https://events.pagerduty.com/v2/enqueue", routing_key="R" * 32),
    "webhook": Channel("ops", "webhook", url="https://example.com/hook"),
    "command": Channel("ops", "command", argv=("/bin/cat",)),
    "email": Channel("ops", "email", to=("ops@example.com", "root"), sender="alerts@example.com"),
}
SCHEMA_OF = {"slack": "slack", "discord": "discord", "teams": "adaptive_card", "pagerduty": "pagerduty", "webhook": "alertmanager", "command": "alertmanager"}
SERVICES = {kind: jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{name}.json").read_text())) for kind, name in SCHEMA_OF.items()}
LIMITS = {"teams": 28_000, "pagerduty": 512_000, "slack": 100_000, "webhook": 1_000_000, "command": 1_000_000}
HOSTILE = (
    "@everyone @here <!channel> <@U123> <https://evil.example|login> [login](https://evil.example) **x** `y` ||z|| # h & <at>you</at> "
    "\u202e\x1b[31m\r\nBcc: x@evil.example"
)


def event(kind: str = "open", name: str = "shop/api", status: str = "critical", **more: t.Any) -> Event:
    over = kind in ("recovery", "test")
    values: dict[str, t.Any] = {
        "kind": kind, "check": "health", "object": name, "stack": "shop", "host": "web-01", "status": "ok" if over else status,
        "previous_status": status if kind == "recovery" else "ok", "since": NOW - 300, "at": NOW, "summary": "the container has exited with code 137",
        "cause": "it ran out of memory", "next_command": "docker compose -p shop logs --tail 50 api", "details": ("OOMKilled", "limit 512 MiB"),
        "incident_id": f"incident of {name}", "dedupe_key": f"key of {name}", "failures": 3, "worst_status": status,
    }  # fmt: skip
    return Event(**{**values, **more})


def entry(*events: Event, notes: t.Sequence[str] = ()) -> Entry:
    return Entry("abcd0000", NOW, list(events), list(notes))


def payloads(kind: str, *entries: Entry, now: float = NOW + 2, storm: bool = False) -> list[dict[str, t.Any]]:
    """Return what is sent, having looked at it as the service would."""
    sent = []
    for request in messages.build(CHANNELS[kind], entries, now, storm):
        payload = json.loads(request.body)
        SERVICES[kind].validate(payload)
        if kind == "discord":
            assert sum(len(embed.get("title", "")) + len(embed["description"]) for embed in payload["embeds"]) <= 6000
        assert len(request.body) <= LIMITS.get(kind, 100_000)
        sent.append(payload)
    return sent


def mail(*entries: Entry, now: float = NOW + 2) -> email.message.EmailMessage:
    (request,) = messages.build(CHANNELS["email"], entries, now)
    parsed = email.message_from_bytes(request.body, policy=email.policy.default)
    assert isinstance(parsed, email.message.EmailMessage)
    return parsed


def text_of(kind: str, *entries: Entry, **more: t.Any) -> str:
    """Return all that people see of a message."""
    if kind == "email":
        message = mail(*entries, **more)
        return f"{message['Subject']}\n{message.get_content()}"

    def texts(value: t.Any) -> t.Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for one in value:
                yield from texts(one)
        elif isinstance(value, dict):
            for key, one in value.items():
                yield key
                yield from texts(one)

    return "\n".join(text for payload in payloads(kind, *entries, **more) for text in texts(payload)).replace("\\", "")


ALL = sorted(CHANNELS)


@pytest.mark.parametrize("kind", ALL)
def test_a_message_names_what_somebody_who_is_woken_needs(kind: str) -> None:
    text = text_of(kind, entry(event()), now=NOW + 600)
    for part in (
        "CRITICAL",
        "web-01",
        "shop",
        "shop/api",
        "exited with code 137",
        "2026-11-23 11:55:00",
        "out of memory",
        "docker compose -p shop logs",
        "OOMKilled",
        "10 min",
    ):
        assert part in text, part


@pytest.mark.parametrize("kind", ALL)
def test_a_message_in_time_says_nothing_of_a_delay(kind: str) -> None:
    assert "delayed" not in text_of(kind, entry(event())) and "delayed by 9 min" in text_of(kind, entry(event()), now=NOW + 540)


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_of_event_has_a_message(kind: str) -> None:
    for one, word in (("open", "CRITICAL"), ("change", "CRITICAL"), ("reminder", "STILL CRITICAL"), ("recovery", "RESOLVED"), ("test", "TEST")):
        assert word in text_of(kind, entry(event(one)))
    assert "for 5 min, 3 failed runs" in text_of(kind, entry(event("recovery")))
    assert "(the host itself)" in text_of(kind, entry(event(stack="")))


@pytest.mark.parametrize("kind", ALL)
def test_hostile_text_is_nothing_but_text(kind: str) -> None:
    one = event(name=f"api {HOSTILE}", incident_id="i", dedupe_key="k", summary=HOSTILE, cause=HOSTILE, next_command=HOSTILE, details=(HOSTILE,) * 3)
    if kind == "email":
        message = mail(entry(one))
        assert sorted(message.keys()) == sorted(
            [
                "Subject",
                "From",
                "To",
                "Date",
                "Message-ID",
                "Auto-Submitted",
                "X-Auto-Response-Suppress",
                "MIME-Version",
                "Content-Type",
                "Content-Transfer-Encoding",
            ]
        )
        assert message["To"] == "ops@example.com, root" and "\n" not in message["Subject"]
        text = message.get_content()
        assert message.get_content_type() == "text/plain"
    else:
        (request,) = messages.build(CHANNELS[kind], [entry(one)], NOW)
        text = request.body.decode()
    assert not any(bad in text for bad in ("\x1b", "\\u001b", "\u202e", "\r", "\\r"))
    if kind == "slack":
        assert not any(bad in text for bad in ("<", ">", "@everyone", "@here", "](http"))
    if kind == "discord":
        assert not any(bad in text for bad in ("@everyone", "@here", " <@", " [login](", " **x", " `y", " ||z")) and json.loads(text)["allowed_mentions"] == {
            "parse": []
        }
    if kind == "teams":
        (payload,) = payloads("teams", entry(one))
        assert (
            {block["type"] for block in payload["attachments"][0]["content"]["body"]} == {"RichTextBlock"}
            and "entities" not in text
            and "@everyone" not in text
        )


@pytest.mark.parametrize("kind", ALL)
def test_twenty_are_shown_and_the_rest_is_counted(kind: str) -> None:
    events = [
        event(name=f"o{number:02}", status="warning", cause="y" * 900, summary="\N{GRINNING FACE}" * 900, details=("z" * 900,) * 30) for number in range(26)
    ]
    events.append(event(name="the worst"))
    text = text_of(kind, entry(*events))
    assert "the worst" in text and "1 CRITICAL, 26 WARNING on web-01" in text or kind == "pagerduty"
    if kind in ("slack", "discord", "teams", "email"):
        assert "+7 more: health o" in text
    else:
        assert all(f"o{number:02}" in text for number in range(26))


def test_discord_shows_few_events_each_by_itself_and_many_as_a_list() -> None:
    (few,) = payloads("discord", entry(*(event(name=f"o{number}") for number in range(10))))
    assert [embed["color"] for embed in few["embeds"]] == [0xE74C3C] * 10
    (many,) = payloads("discord", entry(*(event(name=f"o{number}") for number in range(11))))
    assert len(many["embeds"]) == 1 and many["embeds"][0]["description"].count("\n") == 10
    assert messages.build(CHANNELS["discord"], [entry(event())], NOW)[0].url == "https://discord.com/api/webhooks/1/x?thread_id=7&wait=true"


def test_pagerduty_opens_and_ends_by_the_same_key_and_keeps_the_true_time() -> None:
    for kind, action, severity in (
        ("open", "trigger", "critical"),
        ("change", "trigger", "critical"),
        ("reminder", "trigger", "critical"),
        ("recovery", "resolve", "info"),
    ):
        (payload,) = payloads("pagerduty", entry(event(kind)), now=NOW + 7200)
        assert (payload["event_action"], payload["dedup_key"], payload["payload"]["severity"]) == (action, "key of shop/api", severity)
        assert payload["payload"]["timestamp"] == "2026-11-23T12:00:00Z"
    assert [payload["event_action"] for payload in payloads("pagerduty", entry(event("test")))] == ["trigger", "resolve"]
    assert payloads("pagerduty", entry(event(status="unknown")))[0]["payload"]["severity"] == "error"


def test_webhook_is_what_alertmanager_sends_and_more() -> None:
    (payload,) = payloads("webhook", entry(event(), event("recovery", name="db")))
    assert (payload["status"], [alert["status"] for alert in payload["alerts"]]) == ("firing", ["firing", "resolved"])
    assert payload["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z" and payload["alerts"][1]["endsAt"] == "2026-11-23T12:00:00Z"
    assert payload["alerts"][0]["fingerprint"] == "key of shop/api" and payload["alerts"][0]["x"]["incident_id"] == "incident of shop/api"
    assert payload["commonLabels"] == {"host": "web-01", "stack": "shop", "check": "health"}
    assert payloads("webhook", entry(event("recovery")))[0]["status"] == "resolved"


def test_webhook_can_be_verified() -> None:
    channel = dataclasses.replace(CHANNELS["webhook"], hmac_secret="a secret")
    (request,) = messages.build(channel, [entry(event())], NOW)
    assert request.headers["X-Signature"] == "sha256=" + hmac.new(b"a secret", request.body, hashlib.sha256).hexdigest()
    assert "X-Signature" not in messages.build(CHANNELS["webhook"], [entry(event())], NOW)[0].headers


def test_a_great_many_events_fit_into_what_servers_take_by_default() -> None:
    many = [
        event(name=f"o{number} {'x' * 190}", summary="\N{GRINNING FACE}" * 500, cause="\N{GRINNING FACE}" * 500, details=("\N{GRINNING FACE}" * 500,) * 11)
        for number in range(200)
    ]
    (payload,) = payloads("webhook", entry(*many))
    assert len(payload["alerts"]) == 200 and payload["truncatedAlerts"] == 0


def test_the_same_message_sent_again_says_that_it_is_the_same() -> None:
    first, second = (messages.build(CHANNELS["webhook"], [entry(event())], moment)[0] for moment in (NOW, NOW + 60))
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert mail(entry(event()))["Message-ID"] == mail(entry(event()), now=NOW + 60)["Message-ID"] == f"<{first.headers['Idempotency-Key']}@web-01>"


def test_a_backlog_is_one_message_in_order() -> None:
    text = text_of("slack", entry(event()), entry(event("recovery", at=NOW + 300)), now=NOW + 900)
    assert text.index("CRITICAL web-01") < text.index("RESOLVED web-01") and "1 CRITICAL, 1 RESOLVED on web-01" in text


def test_a_storm_shows_the_last_of_each_object_the_worst_first() -> None:
    events = [event(name="a", status="warning"), event(name="b"), event("recovery", name="b"), event(name="c")]
    text = text_of("slack", *(entry(one) for one in events), storm=True)
    assert "4 of them in this one message" in text and "CRITICAL web-01 shop: health b" not in text
    assert text.index("health c") < text.index("health a") < text.index("RESOLVED web-01 shop: health b")
    # A machine gets them all.
    assert len(payloads("webhook", *(entry(one) for one in events), storm=True)[0]["alerts"]) == 4


@pytest.mark.parametrize("kind", ALL)
def test_notes_are_told(kind: str) -> None:
    if kind == "pagerduty":
        assert payloads(kind, entry(notes=["7 were dropped"])) == []
    else:
        assert "7 were dropped" in text_of(kind, entry(notes=["7 were dropped"])) and "7 were dropped" in text_of(
            kind, entry(event(), notes=["7 were dropped"])
        )


TEXTS = st.text(max_size=1200)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(lambda *args: args, st.sampled_from(["open", "change", "reminder", "recovery", "test"]), TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=12)),
        min_size=1,
        max_size=25,
    )
)
def test_whatever_is_in_it_each_service_takes_it(raw: list[tuple[str, str, str, str, list[str]]]) -> None:
    events = [event(kind, name=name, summary=summary, cause=cause, next_command=cause, details=tuple(details)) for kind, name, summary, cause, details in raw]
    for kind in SCHEMA_OF:
        payloads(kind, entry(*events))
    mail(entry(*events))
