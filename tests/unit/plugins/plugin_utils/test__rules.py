# Copyright (c) 2026, stackops.runbook contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loading rules: every mistake is found, with its file and line; and the shipped rules have none."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
from ansible_collections.stackops.runbook.plugins.plugin_utils import _rules
from ansible_collections.stackops.runbook.plugins.plugin_utils._judge import run_tests
from ansible_collections.stackops.runbook.plugins.plugin_utils._rules import RuleError, RuleSet, lint, load_rules, threshold_problems
from ansible_collections.stackops.runbook.plugins.plugin_utils._text import COMMAND_NAMES, split_commands

ROOT = pathlib.Path(__file__).resolve().parents[4]
RULES = ROOT / "roles" / "diagnose" / "rules"
FIXTURES = ROOT / "tests" / "unit" / "fixtures" / "facts"

GOOD = """---
schema: 1
rules:
  - id: disk-full
    category: host
    severity: critical
    for_each: facts.host.filesystems[]
    object: "{{ item.mount }}"
    requires: [item.inodes_used_percent]
    thresholds: {percent: 90}
    when: item.inodes_used_percent >= thresholds.percent
    title: {en: "{{ item.mount }} is full", zh_TW: "{{ item.mount }} 已滿"}
    cause: {en: It is, zh_TW: 已滿}
    fix: {en: ["`df -i {{ item.mount }}`"], zh_TW: ["`df -i {{ item.mount }}`"]}
    verify: {en: "`df -i`", zh_TW: "`df -i`"}
    evidence: {inodes_used_percent: item.inodes_used_percent}
    tests:
      - {name: full, given: {facts: {host: {filesystems: [{mount: /, inodes_used_percent: 99}]}}}, expect: fire, object: /}
      - {name: not full, given: {facts: {host: {filesystems: [{mount: /, inodes_used_percent: 9}]}}}, expect: pass}
      - {name: not known, given: {facts: {host: {filesystems: [{mount: /}]}}}, expect: unknown}
"""


def written(directory: pathlib.Path, text: str, name: str = "own.yml") -> pathlib.Path:
    (directory / name).write_text(text, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    return load_rules([RULES], FIXTURES)


# What is shipped


def test_the_shipped_rules_have_no_problem_at_all():
    assert [str(problem) for problem in lint([RULES])] == []


def test_the_tests_inside_the_shipped_rules_pass(shipped):
    assert run_tests(shipped) == []


def test_there_are_enough_rules_and_the_promised_ones_are_among_them(shipped):
    assert len(shipped.rules) >= 45
    promised = {
        "container-application-error", "container-oom-killed", "database-login-rejected", "database-down", "migration-pending", "slow-query", "error-burst",
        "slow-endpoint", "jwt-signature-mismatch", "port-already-allocated", "database-name-not-resolved", "filesystem-nearly-full",
        "pg-stat-statements-missing", "health-endpoint-failing", "healthcheck-wrong-path",
    }  # fmt: skip
    assert promised <= set(shipped.rules)


def test_every_shipped_rule_fires_passes_and_does_not_know_in_its_tests(shipped):
    for rule in shipped.rules.values():
        assert {test.expect for test in rule.tests} == {"fire", "pass", "unknown"}, rule.id
        assert rule.references, rule.id


def test_the_chinese_texts_are_chinese_and_not_the_english_ones(shipped):
    for rule in shipped.rules.values():
        for name in ("title", "cause"):
            english, chinese = (getattr(rule, name)[language].source for language in ("en", "zh_TW"))
            assert english != chinese and re.search(r"[\u4e00-\u9fff]", chinese), f"{rule.id}: {name}"
        assert len(rule.fix["en"]) == len(rule.fix["zh_TW"]), rule.id


# Words of mainland usage, and characters that are only simplified, where Taiwan says or writes something else.
FOREIGN = re.compile(
    r"數據庫|數據|服務器|內存|网络|網絡|硬盤|程序員|文件夾|默認|緩存|日志|視頻|軟件|硬件|質量|線程|進程|端口|鏡像|配置文件|信息|用戶(?!端)|登錄|創建|支持|訪問|接口|字符|變量"
    r"|[这们为动务务应发实时间过还进进开关]"
)


def test_the_chinese_texts_use_the_words_of_taiwan(shipped):
    for rule in shipped.rules.values():
        texts = [rule.title["zh_TW"], rule.cause["zh_TW"], *rule.fix["zh_TW"], rule.verify["zh_TW"]]
        for text in texts:
            found = FOREIGN.search(text.source)
            assert found is None, f"{rule.id}: {found.group()} in {text.source}"


def test_no_shipped_rule_knows_the_example_application():
    """Its services, paths, messages and files are nothing that a rule may look for."""
    text = "\n".join(re.sub(r"given_file: [^,]+", "", path.read_text(encoding="utf-8")) for path in RULES.glob("*.yml"))
    assert re.search(r"(?<!_)backend(?!_)", text) is None
    for word in ("/api/v1", "JWTParser", "order_events", "shop_invoicing", "reports/daily", "ten percent", "ninety"):
        assert word not in text, word


# What is found


def test_a_good_file_loads(tmp_path):
    rules = load_rules([written(tmp_path, GOOD)])
    assert list(rules.rules) == ["disk-full"]
    assert run_tests(rules) == []
    assert lint([tmp_path]) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("severity: critical", "severity: critical\n    remediation: {action: restart_servcie}", 7, "There is no action 'restart_servcie'; did you mean"),
        ("severity: critical", "severity: critical\n    remediation: {action: restart_service}", 7, "restart_service needs service"),
        ("severity: critical", "severity: critical\n    remediation: {action: docker_cleanup, hours: item.mount}", 7, "has no parameter hours"),
        ("severity: critical", "severity: critical\n    remediation: {action: start_missing, services: item.nosuch}", 7, "nosuch"),
        ("severity: critical", "severity: critical\n    remediation: [docker_cleanup]", 7, "remediation is a mapping with action"),
        ("severity: critical", "severty: critical", 6, "unknown key severty; did you mean severity?"),
        ("severity: critical", "severity: major", 6, "severity must be one of info, warning, critical"),
        ("category: host", "category: hosts", 5, "category must be one of"),
        ("id: disk-full", "id: Disk_Full", 4, "lower-case words"),
        ("facts.host.filesystems[]", "facts.host.filesystem[]", 7, "facts.host.filesystem is not in the facts schema; did you mean filesystems?"),
        ("facts.host.filesystems[]", "facts.hots.filesystems[]", 7, "did you mean host?"),
        ("facts.host.filesystems[]", "facts.host.filesystems[?status=='bad']", 7, "is never 'bad', only critical, ok, unknown, warning"),
        ("facts.host.filesystems[]", "facts.host.filesystems.mount", 7, "it is a list"),
        ("when: item.inodes_used_percent >=", "when: item.inodes_percent >=", 11, "facts.host.filesystems[].inodes_percent is not in the facts schema"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: item.inodes_used_percent >= thresholds.limit", 11, "thresholds.limit"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: pct(item.used_percent", 11, "not JMESPath"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: percent(item.used_percent, `1`)", 11, "there is no function percent()"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: matches(item.mount, '(a+)+')", 11, "its time has no bound"),
        ("requires: [item.inodes_used_percent]", "requires: []", 11, "item.inodes_used_percent may be missing"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: \"!(item.used_for)\"", 11, "item.used_for may be missing"),
        ("when: item.inodes_used_percent >= thresholds.percent", "when: \"!item.used_for\"", 11, "write !(a.b)"),
        ("title: {en: \"{{ item.mount }} is full\"", "title: {en: \"{{ item.mnt }} is full\"", 12, "title (en): facts.host.filesystems[].mnt is not in"),
        ("title: {en: \"{{ item.mount }} is full\"", "title: {en: \"{{ item.mount | upper }} is full\"", 12, "is not a path"),
        ("thresholds: {percent: 90}", "thresholds: {percent: ninety}", 10, "threshold percent must be a number"),
        ("expect: fire, object: /", "expect: fires, object: /", 18, "expect must be one of"),
        ("inodes_used_percent: 9}", "inodes_percent: 9}", 19, "facts.host.filesystems[].inodes_percent is not in the facts schema"),
        ("expect: fire, object: /", "expect: fire, evidence: {inodes: 1}", 18, "the rule has no evidence inodes"),
        ("    category: host\n", "    category: host\n    category: host\n", 6, "the key category is there twice"),
        ("    tests:", "    suppresses: [{rule: disk-full, where: anywhere}]\n    tests:", 17, "where must be one of"),
        ("    object: \"{{ item.mount }}\"\n", "", 4, "object is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_found_with_file_and_line(tmp_path, old, new, line, message):
    assert old in GOOD
    directory = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(RuleError) as caught:
        load_rules([directory])
    found = [problem for problem in caught.value.problems if message in problem.message]
    assert found, str(caught.value)
    assert (pathlib.Path(found[0].path).name, found[0].line) == ("own.yml", line)
    assert str(found[0]).startswith(f"{directory}/own.yml:{line}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", zh_TW: \"{{ item.mount }} 已滿\"}", "}", "title has no zh_TW"),
        ("      - {name: not known, given: {facts: {host: {filesystems: [{mount: /}]}}}, expect: unknown}\n", "", "no test expects unknown"),
        ("    tests:", "    suppresses: [{rule: no-such-rule, where: same-host}]\n    tests:", "suppresses no-such-rule, which is no rule"),
    ],
)  # fmt: skip
def test_what_makes_a_rule_poorer_is_linted_but_loads(tmp_path, old, new, message):
    directory = written(tmp_path, GOOD.replace(old, new, 1))
    assert len(load_rules([directory]).rules) == 1
    assert any(message in problem.message and problem.level == "warning" for problem in lint([directory]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "not YAML"),
        ("- a", "a rule file is a mapping"),
        ("schema: 2\nrules: []", "a rule file is a mapping with 'schema: 1'"),
        ("schema: 1\nrules: []\nrule: []", "unknown key rule"),
        ("schema: 1\nrules: [a]", "each rule is a mapping"),
    ],
)
def test_files_that_are_no_rule_files(tmp_path, text, message):
    with pytest.raises(RuleError, match=re.escape(message)):
        load_rules([written(tmp_path, text)])


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "own.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RuleError, match="own.yml:1: "):
        load_rules([tmp_path])
    with pytest.raises(RuleError, match="there is no such directory"):
        load_rules([tmp_path / "absent"])


def test_all_mistakes_of_all_files_are_told_in_one_go(tmp_path):
    written(tmp_path, GOOD.replace("critical", "major"), "a.yml")
    written(tmp_path, GOOD.replace("disk-full", "disk-other").replace("host.filesystems", "host.filesystem"), "b.yml")
    with pytest.raises(RuleError) as caught:
        load_rules([tmp_path])
    assert {pathlib.Path(problem.path).name for problem in caught.value.problems} == {"a.yml", "b.yml"}


def test_a_plain_text_is_taken_for_every_language(tmp_path):
    directory = written(tmp_path, re.sub(r"cause: \{.*\}", "cause: It is", GOOD))
    rule = load_rules([directory]).rules["disk-full"]
    assert rule.cause["zh_TW"].source == "It is"


# Several directories


def test_a_later_directory_overrides_only_when_it_says_so(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    written(first, GOOD)
    written(second, GOOD.replace("severity: critical", "severity: info"))
    with pytest.raises(RuleError, match=r"already defined at .*first/own.yml:4"):
        load_rules([first, second])
    written(second, GOOD.replace("severity: critical", "severity: info\n    override: true"))
    rules = load_rules([first, second])
    assert rules.rules["disk-full"].severity == "info"
    written(second, GOOD.replace("id: disk-full", "id: disk-fulll\n    override: true"))
    with pytest.raises(RuleError, match="overrides a rule that does not exist"):
        load_rules([first, second])


def test_rules_are_disabled_by_id(tmp_path):
    directory = written(tmp_path, GOOD)
    assert load_rules([directory], disabled=["disk-full"]).rules == {}
    with pytest.raises(RuleError, match="there is no rule disk-ful; did you mean disk-full"):
        load_rules([directory], disabled=["disk-ful"])


def test_thresholds_of_an_inventory_are_checked(tmp_path):
    rules = load_rules([written(tmp_path, GOOD)])
    assert threshold_problems(rules, {"disk-full": {"percent": 80}}) == []
    assert "there is no rule disk-ful; did you mean disk-full?" in threshold_problems(rules, {"disk-ful": {"percent": 80}})[0]
    assert "has no such threshold (it has: percent)" in threshold_problems(rules, {"disk-full": {"percents": 80}})[0]
    assert "must be a number" in threshold_problems(rules, {"disk-full": {"percent": "80"}})[0]
    assert threshold_problems(rules, []) != []


def test_tests_on_recorded_facts(tmp_path):
    fixtures = tmp_path / "fixtures"
    rules = tmp_path / "rules"
    fixtures.mkdir()
    rules.mkdir()
    (fixtures / "host.json").write_text('{"schema": 1, "host": {}, "facts": {"host": {"filesystems": [{"mount": "/x", "inodes_used_percent": 99}]}}}')
    recorded = "      - {name: recorded, given_file: host.json, expect: fire, object: /x, evidence: {inodes_used_percent: 99}}\n"
    written(rules, GOOD + recorded)
    assert run_tests(load_rules([rules], fixtures)) == []
    written(rules, GOOD + recorded.replace("/x", "/y"))
    assert "no finding on /y, only on /x" in run_tests(load_rules([rules], fixtures))[0]
    written(rules, GOOD + recorded.replace("host.json", "other.json"))
    assert "other.json cannot be read" in run_tests(load_rules([rules], fixtures))[0]
    assert run_tests(load_rules([rules])) == []


FLEET = """---
schema: 1
rules:
  - id: clocks-differ
    category: fleet
    severity: warning
    scope: fleet
    object: clock
    requires: [fleet.clock_spread_ms]
    when: fleet.clock_spread_ms > `5000`
    title: They differ
    cause: They do
    fix: [Set them]
    evidence: {hosts: "fleet.clocks[].name"}
    tests:
      - {name: recorded, given_file: [web1.json, web2.json], expect: fire, object: clock, evidence: {hosts: [web1, web2]}}
      - {name: one host alone, given_file: web1.json, expect: pass}
      - {name: none, given: {fleet: {}}, expect: unknown}
"""


def test_rules_over_a_fleet_are_tested_on_one_recording_for_each_host(tmp_path):
    fixtures, rules = tmp_path / "fixtures", tmp_path / "rules"
    fixtures.mkdir()
    rules.mkdir()
    for name, offset in (("web1", 3), ("web2", -61000)):
        facts = {"schema": 1, "host": {}, "facts": {"host": {"clock": {"offset_ms": offset}}}}
        (fixtures / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
    written(rules, FLEET)
    assert run_tests(load_rules([rules], fixtures)) == []
    written(rules, FLEET.replace("hosts: [web1, web2]", "hosts: [web1]"))
    assert "evidence hosts is ['web1', 'web2'], expected ['web1']" in run_tests(load_rules([rules], fixtures))[0]


@pytest.mark.parametrize("files", ["[host.json, other.json]", "[7]", "{a: b}"])
def test_a_rule_over_one_host_has_one_recording(tmp_path, files):
    written(tmp_path, GOOD + f"      - {{name: recorded, given_file: {files}, expect: fire}}\n")
    with pytest.raises(RuleError, match="given_file must be the name of a file"):
        load_rules([tmp_path])


def test_without_jmespath_the_controller_is_told_what_to_install(tmp_path, monkeypatch):
    from ansible_collections.stackops.runbook.plugins.plugin_utils import _conditions

    _conditions._interpreter.cache_clear()
    monkeypatch.setattr(_conditions, "HAS_JMESPATH", False)
    try:
        with pytest.raises(RuleError, match="pip install jmespath"):
            load_rules([written(tmp_path, GOOD)])
    finally:
        _conditions._interpreter.cache_clear()


def test_every_fact_that_a_path_can_name_is_in_the_schema():
    schema = _rules.facts_schema()
    assert schema.unknown_paths({"host": {"name": "a"}, "facts": {"compose": {"containers": [{"cause": {"code": "killed"}}]}}}) == []
    problems = schema.unknown_paths({"facts": {"compose": {"containers": [{"cause": {"code": "kiled"}, "pid": "x", "name": None}]}}})
    assert len(problems) == 3


_BOMB = "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9) if before else 'x'}]\n" for before, name in zip(" abcdefgh", "abcdefghi") for before in [before.strip()]
)


@pytest.mark.parametrize(
    "content",
    [
        _BOMB + "schema: 1\nrules: []\n",
        "schema: 1\nrules:\n- id: a-b\n  tests:\n  - given:\n" + "".join(f"      {line}\n" for line in _BOMB.splitlines()),
        "schema: 1\nrules: []\na0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)),
        "schema: 1\nrules: &r [*r]\n",
        "schema: 1\nrules: &r {a: *r}\n",
    ],
    ids=["top", "test", "merge", "list-in-itself", "mapping-in-itself"],
)
def test_a_document_that_its_aliases_blow_up_is_refused(tmp_path, content):
    (tmp_path / "bomb.yml").write_text(content, encoding="utf-8")
    with pytest.raises(RuleError, match="with its aliases written out"):
        load_rules([tmp_path])


@pytest.mark.parametrize("content", ["schema: 1\nrules: " + "[" * 50_000, "x: " + "9" * 100_000, "\x00", "!!python/object/apply:os.system [id]", "&a *a"])
def test_a_document_that_is_none_is_an_error_with_its_place(tmp_path, content):
    (tmp_path / "odd.yml").write_text(content, encoding="utf-8")
    with pytest.raises(RuleError, match="odd.yml:1|odd.yml:2"):
        load_rules([tmp_path])


#: What a step of a fix may begin with between backticks. Anything else there is a piece of a command, and the terminal would show it as a whole one.
_PROGRAMS = frozenset(
    (
        *("ansible", "ansible-playbook", "apt-get", "curl", "date", "df", "dmesg", "docker", "du", "findmnt", "firewall-cmd", "free", "iptables"),
        *("iptables-legacy-save", "iptables-nft-save", "journalctl", "ls", "mount", "nc", "pidstat", "ps", "psql", "python3", "redis-cli", "ss"),
        *("systemctl", "tail", "timedatectl", "top", "ufw", "uptime", "usermod", "vmstat"),
    )
)


def test_what_steps_say_to_type_is_a_whole_command():
    own = {f"{{{{ {name} }}}}" for name in COMMAND_NAMES} | {"{{ evidence.command }}"}
    for rule in load_rules([RULES, ROOT / "roles/firewall_check/rules"]).rules.values():
        for language in ("en", "zh_TW"):
            for step in (*rule.fix[language], rule.verify[language]):
                for kind, part in split_commands(step.source):
                    first = part.split(" }}")[0] + " }}" if part.startswith("{{") else part.split()[0]
                    assert kind == "text" or first in _PROGRAMS | own, (rule.id, language, part)
