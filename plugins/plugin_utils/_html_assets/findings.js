// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Findings: the filters over them, and how one, a group of the same rule, and a list of them are shown.

// So many findings of one rule are one problem of the fleet rather than as many of its hosts.
const GROUP_FROM = 4;
const PAGE_SIZE = 40;

const noFilters = () => ({ q: '', severity: '', status: '', category: '', host: '', change: '' });
const filters = noFilters();
const isFiltered = () => Object.values(filters).some(Boolean);

const hostName = (finding) => (finding.host < 0 ? words('fleet') : data.hosts[finding.host].name);

function haystack(finding) {
  if (!finding.haystack) {
    finding.haystack = [hostName(finding), finding.rule, finding.object, finding.title, finding.category, finding.cause, finding.reason]
      .map((part) => (typeof part === 'string' ? part : text(part))).join(' ').toLowerCase();
  }
  return finding.haystack;
}

const searchWords = () => filters.q.toLowerCase().split(/\s+/).filter(Boolean);

function matches(finding, wanted) {
  if (filters.category && text(finding.category) !== filters.category) return false;
  return wanted.every((word) => haystack(finding).includes(word));
}

// Whether a finding is one of those filtered for. A root cause stays in sight as long as something that it explains is.
function isWanted(finding, wanted) {
  if (filters.host && hostName(finding) !== filters.host) return false;
  if (filters.status && (finding.host < 0 || data.hosts[finding.host].status !== filters.status)) return false;
  if (filters.severity && finding.severity !== filters.severity) return false;
  if (filters.change && finding.change !== filters.change) return false;
  return matches(finding, wanted) || (finding.effects || []).some((effect) => matches(data.findings[effect], wanted));
}

const effectCount = (finding) => (finding.effects || []).length;

// Evidence

function evidenceValue(name, value) {
  if (value === null || value === '') return make('span', { class: 'absent' }, words('unknown'));
  if (Array.isArray(value)) {
    if (!value.length) return make('span', { class: 'absent' }, words('none'));
    if (value.every((element) => typeof element === 'string')) return make('pre', { tabindex: 0 }, make('code', { dir: 'ltr' }, value.join('\n')));
    return make('ul', null, value.map((element) => make('li', null, evidenceValue(name, element))));
  }
  if (typeof value === 'object') return evidence(value);
  if (typeof value === 'string' && (value.includes('\n') || value.length > 90)) return make('pre', { tabindex: 0 }, make('code', { dir: 'ltr' }, value));
  return make('code', { dir: 'ltr' }, byName(name, value));
}

const evidence = (values) => make('dl', { class: 'evidence' }, Object.entries(values).map(([name, value]) => [make('dt', null, name), make('dd', null, evidenceValue(name, value))]));

// One finding

function tags(finding) {
  const explained = effectCount(finding);
  const parts = [];
  if (finding.count > 1) parts.push(make('span', { class: 'tag' }, `× ${count(finding.count)}`));
  if (finding.change === 'new' && data.compared) parts.push(make('span', { class: 'tag new' }, words('new')));
  if (explained) parts.push(make('span', { class: 'tag' }, explained === 1 ? words('explains_one') : words('explains', { n: explained })));
  if (finding.confidence && finding.confidence !== 'high') parts.push(make('span', { class: 'tag' }, words(`confidence_${finding.confidence}`)));
  return parts;
}

function place(finding, inPanel) {
  const parts = [];
  if (!inPanel) parts.push(make('b', null, hostName(finding)));
  if (finding.object !== undefined) parts.push(make('code', { dir: 'ltr' }, text(finding.object)));
  if (finding.category !== undefined) parts.push(make('span', null, text(finding.category)));
  if (finding.since && finding.result === 'fire' && data.now - finding.since >= 60) parts.push(make('span', null, words('for_age', { age: age(finding.since) })));
  return make('span', { class: 'place' }, parts);
}

const part = (title, ...children) => make('div', { class: 'part' }, make('h4', null, title), ...children);

// Rules may come from anybody: only links of the web are links.
function references(finding) {
  return (finding.references || []).map(text).filter((link) => /^https?:\/\//.test(link))
    .map((link) => make('a', { href: link, rel: 'noreferrer noopener', target: '_blank', title: link }, link.split('/')[2]));
}

function findingBody(finding, inPanel) {
  const verify = text(finding.verify);
  const steps = (finding.fix || []).map((position) => make('li', null, step(text(position))));
  const reasonTitle = finding.result === 'silenced' ? 'silence_reason' : 'reason';
  const names = Object.keys(finding.evidence || {});
  return [
    finding.reason !== undefined && finding.result !== 'fire' ? part(words(reasonTitle), make('p', null, text(finding.reason))) : null,
    finding.cause !== undefined ? part(words('cause'), step(text(finding.cause))) : null,
    finding.news ? part(words('news'), make('ul', { class: 'news' }, finding.news.map((position) => make('li', null, make('bdi', null, text(position)))))) : null,
    steps.length ? part(words('fix'), make('ol', { class: steps.length === 1 ? 'steps single' : 'steps' }, steps)) : null,
    verify && finding.result === 'fire' ? part(words('verify'), verify.includes('`') ? step(verify) : command(verify)) : null,
    finding.short ? make('p', { class: 'muted' }, words('short')) : null,
    names.length ? fold(words('evidence'), () => evidence(finding.evidence), { note: names.join(', '), name: 'fold small' }) : null,
    finding.effects ? fold(words('effects'), () => make('div', { class: 'list nested' }, finding.effects.map((effect) => findingItem(effect, { inPanel }))),
      { note: count(effectCount(finding)), name: 'fold small effects' }) : null,
    make('p', { class: 'foot' }, make('span', null, words('rule'), ' ', make('code', { dir: 'ltr' }, text(finding.rule))), references(finding), !inPanel && finding.host >= 0 ? hostLink(finding.host, words('open_host', { name: hostName(finding) })) : null),
  ];
}

function item(severity, title, below, aside, build, open) {
  const body = make('div', { class: 'body' });
  const details = make(
    'details', { class: `finding s-${severity}` },
    make('summary', null, statusIcon(severity), make('span', { class: 'what' }, make('bdi', { class: 'title' }, title), below), make('span', { class: 'tags' }, aside), icon('chevron')),
    body,
  );
  details.fill = () => {
    if (!details.filled) {
      details.filled = true;
      body.append(...[build()].flat().filter(Boolean));
    }
  };
  details.addEventListener('toggle', () => details.open && details.fill());
  if (open) {
    details.fill();
    details.open = true;
  }
  return details;
}

function findingItem(position, more) {
  const { inPanel, open } = more || {};
  const finding = data.findings[position];
  const severity = finding.result === 'fire' ? known(finding.severity, SEVERITIES) : known(finding.result, ['silenced', 'error', 'unknown']);
  return item(severity, text(finding.title) || text(finding.rule), place(finding, inPanel), tags(finding), () => findingBody(finding, inPanel), open);
}

function mostCommon(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
}

function groupItem(positions) {
  const members = positions.map((position) => data.findings[position]);
  const hosts = new Set(members.map((finding) => finding.host));
  const titles = new Set(members.map((finding) => finding.title));
  const first = members[0];
  const common = text(mostCommon(members.map((finding) => finding.title)));
  const title = titles.size === 1 ? common : [common, make('span', { class: 'muted' }, ` ${words('alike', { n: count(members.length - 1) })}`)];
  const severity = first.result === 'fire' ? known(first.severity, SEVERITIES) : known(first.result, ['silenced', 'error', 'unknown']);
  const below = make(
    'span', { class: 'place' },
    make('b', null, hosts.size === 1 ? words('group_one', { n: count(members.length) }) : words('group', { n: count(members.length), hosts: count(hosts.size) })),
    make('code', { dir: 'ltr' }, text(first.rule)),
  );
  const fresh = members.filter((finding) => finding.change === 'new').length;
  const aside = [fresh && data.compared ? make('span', { class: 'tag new' }, `${words('new')} ${count(fresh)}`) : null];
  return item(severity, title, below, aside, () => {
    const list = make('div', { class: 'list nested' });
    return [list, paged(list, positions, PAGE_SIZE, (position) => findingItem(position))];
  });
}

function grouped(positions) {
  const groups = new Map();
  for (const position of positions) {
    const { rule, severity, result, host } = data.findings[position];
    const key = host < 0 ? `fleet ${position}` : `${rule} ${severity} ${result}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(position);
  }
  return [...groups.values()].flatMap((members) => (members.length >= GROUP_FROM ? [members] : members.map((position) => [position])))
    .sort((one, other) => one[0] - other[0]);
}

function findingList(positions, more) {
  const { openFirst } = more || {};
  const list = make('div', { class: 'list' });
  const button = paged(list, grouped(positions), PAGE_SIZE, (members, rank) => (members.length > 1 ? groupItem(members) : findingItem(members[0], { open: openFirst && rank === 0 })));
  return [list, button];
}

function sectionTitle(id, title, note) {
  return make('h2', null, title, note ? make('span', { class: 'muted note' }, note) : null);
}

// Silences that no longer hold stay in sight until somebody removes them.
function renderExpired() {
  if (!data.expired.length) return;
  byId('silenced').hidden = false;
  byId('silenced').append(make('h3', null, words('expired')), make('ul', { class: 'notes' }, data.expired.map((silence) => make(
    'li', null, make('code', { dir: 'ltr' }, [silence.rule, silence.object, silence.host].filter((name) => name && name !== '*').join(' ')), ` ${silence.reason} (${String(silence.expires).slice(0, 10)})`,
  ))));
}

// The three lists: what fired, what is not known, what is silenced.
function renderFindings() {
  const wanted = searchWords();
  const of = (...results) => data.roots.filter((position) => results.includes(data.findings[position].result));
  const visible = (positions) => positions.filter((position) => isWanted(data.findings[position], wanted));

  const fired = of('fire');
  const shown = visible(fired);
  const nothing = fired.length ? words('nothing_matches') : words(data.hosts.length ? 'nothing_found' : 'no_hosts');
  byId('findings').replaceChildren(
    sectionTitle('findings', words('findings'), isFiltered() ? words('shown', { n: count(shown.length), all: count(fired.length) }) : count(fired.length)),
    ...(shown.length ? findingList(shown, { openFirst: true }) : [make('p', { class: 'empty' }, icon(fired.length ? 'search' : 'ok'), nothing)]),
  );
  for (const [id, results] of [['unknown', ['unknown', 'error']], ['silenced', ['silenced']]]) {
    const all = of(...results);
    const some = visible(all);
    byId(id).hidden = !all.length;
    byId(id).replaceChildren(
      sectionTitle(id, words(`${id}_section`), isFiltered() ? words('shown', { n: count(some.length), all: count(all.length) }) : count(all.length)),
      make('p', { class: 'muted' }, words(`${id}_note`)),
      ...(some.length ? findingList(some) : [make('p', { class: 'empty' }, words('nothing_matches'))]),
    );
  }
  renderExpired();
  return shown.length;
}
