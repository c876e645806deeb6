# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.stackops.runbook.plugins.module_utils._alert_channels import Channel, channels_from_options
from ansible_collections.stackops.runbook.plugins.module_utils._envelope import CheckError

SLACK = {"name": "ops", "type": "slack", "url": "https://hooks.slack.com/services/T000/B000/CANARYsecret"}


@pytest.mark.parametrize(
    "options",
    [
        SLACK,
        {**SLACK, "minimum_status": "critical", "proxy": "http://user:pass@proxy:3128", "headers": {"X-A": "b"}, "validate_certs": False, "ca_path": "/x"},
        {"name": "d", "type": "discord", "url": "https://discord.com/api/webhooks/1/x"},
        {"name": "t", "type": "teams", "url": "https://prod-1.westeurope.logic.azure.com:443/workflows/x?sig=y"},
        {"name": "p", "type": "pagerduty", "routing_key": "a1" * 16},
        {"name": "p", "type": "pagerduty", "routing_key": "a1" * 16, "url": "https://events.eu.pagerduty.com/v2/enqueue"},
        {"name": "w", "type": "webhook", "url": "http://[::1]:8080/", "hmac_secret": "x"},
        {"name": "e", "type": "email", "to": "ops@example.com"},
        {"name": "e", "type": "email", "to": ["root", "a.b+c@example.com"], "from": "alerts@example.com", "sendmail_path": "/usr/lib/sendmail"},
        {"name": "c", "type": "command", "argv": ["/usr/local/bin/notify", "--urgent"], "headers": None},
    ],
)
def test_what_is_right(options: dict[str, t.Any]) -> None:
    channel = Channel.from_options(options)
    assert channel.problem == "" and "CANARY" not in repr(channel) and channels_from_options([options]) == ([channel], [])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "its name must be"),
        ({"name": "a/../b", "type": "slack"}, "its name must be"),
        ({"name": "x" * 41, "type": "slack"}, "its name must be"),
        ({"name": "ops", "type": "telegram"}, "its type must be one of slack, discord"),
        ({**SLACK, "to": "x"}, "slack knows no option 'to'"),
        ({**SLACK, "minimum_status": "info"}, "minimum_status must be"),
        ({**SLACK, "url": None}, "url is missing"),
        ({**SLACK, "url": "hooks.slack.com/CANARY"}, "url is missing, or no URL"),
        ({**SLACK, "url": "ftp://x/CANARY"}, "url is missing, or no URL"),
        ({**SLACK, "url": "https://x/CANARY\r\nHost: y"}, "url is missing, or no URL"),
        ({**SLACK, "url": "https://x:CANARY/"}, "url is missing, or no URL"),
        ({**SLACK, "proxy": "https://user:CANARY@proxy"}, "proxy must be one that is spoken to by HTTP"),
        ({**SLACK, "headers": ["CANARY"]}, "headers must be a mapping"),
        ({**SLACK, "headers": {"Host": "CANARY"}}, "which cannot be set"),
        ({**SLACK, "headers": {"X Y": "CANARY"}}, "which cannot be set"),
        ({**SLACK, "headers": {"X-A": "CANARY\r\nX-B: c"}}, "has characters that a header cannot have"),
        ({"name": "t", "type": "teams", "url": "https://contoso.webhook.office.com/webhookb2/CANARY"}, "which Microsoft has retired"),
        ({"name": "t", "type": "teams", "url": "https://outlook.office.com/webhook/CANARY"}, "which Microsoft has retired"),
        ({"name": "t", "type": "teams", "url": "https://outlook.office365.com/webhook/CANARY"}, "which Microsoft has retired"),
        ({"name": "p", "type": "pagerduty", "routing_key": "CANARY"}, "routing_key must be the 32 characters"),
        ({"name": "e", "type": "email"}, "to is missing"),
        ({"name": "e", "type": "email", "to": ["a@example.com\nBcc: b@example.com"]}, "is no plain address"),
        ({"name": "e", "type": "email", "to": ["-oQ/tmp"]}, "is no plain address"),
        ({"name": "e", "type": "email", "to": ["Ops <a@example.com>"]}, "is no plain address"),
        ({"name": "e", "type": "email", "to": "a@example.com", "from": "x, y"}, "is no plain address"),
        ({"name": "e", "type": "email", "to": "a@example.com", "sendmail_path": "sendmail"}, "must begin with /"),
        ({"name": "c", "type": "command", "argv": "notify CANARY"}, "argv must be a list"),
        ({"name": "c", "type": "command", "argv": ["notify", "CANARY"]}, "argv must be a list"),
        ({"name": "c", "type": "command", "argv": []}, "argv must be a list"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_and_without_secrets(options: dict[str, t.Any], reason: str) -> None:
    with pytest.raises(CheckError) as caught:
        Channel.from_options(options)
    text = f"{caught.value.source} {caught.value.reason} {caught.value.hint}"
    assert reason in text and caught.value.hint and "CANARY" not in text and caught.value.code == "invalid-option"


def test_a_wrong_channel_is_kept_so_that_what_is_for_it_waits() -> None:
    channels, errors = channels_from_options([SLACK, {**SLACK, "name": "broken", "url": ""}, {**SLACK}, {"type": "slack"}, {"name": "odd", "type": "telegram"}])
    assert [(channel.name, bool(channel.problem)) for channel in channels] == [("ops", False), ("broken", True), ("odd", True)]
    assert [error.source for error in errors] == ["channel broken", "channel ops", "channel (without a name)", "channel odd"]


def test_the_fingerprint_changes_with_what_is_sent_to_and_shows_nothing() -> None:
    first = Channel.from_options(SLACK)
    assert first.fingerprint() == Channel.from_options({**SLACK, "minimum_status": "critical"}).fingerprint()
    assert first.fingerprint() != Channel.from_options({**SLACK, "url": SLACK["url"] + "2"}).fingerprint()
    assert "CANARY" not in first.fingerprint() and len(first.fingerprint()) == 32


def test_an_error_that_holds_the_secret_loses_it() -> None:
    channel = Channel.from_options({**SLACK, "headers": {"Authorization": "Bearer CANARYtoken"}, "proxy": "http://u:CANARYproxy@proxy:3128"})
    text = channel.harmless("POST /services/T000/B000/CANARYsecret CANARYsecret CANARYtoken CANARYproxy \x1b[31mfailed\n", 200)
    assert "CANARY" not in text and text.endswith("failed")
