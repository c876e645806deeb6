// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Hosts: the map of the fleet, the table, and the panel with everything of one host.

const NAMED_TILES = 60;
const LARGE_TILES = 240;
const HOST_PAGE_SIZE = 100;

function prepareHosts() {
  data.hosts.forEach((host, position) => {
    Object.assign(host, { position, counts: { critical: 0, warning: 0, info: 0, unknown: 0, silenced: 0 }, findings: [], first: null });
  });
  for (const finding of data.findings) {
    const host = data.hosts[finding.host];
    if (host) host.counts[finding.result === 'fire' ? known(finding.severity, SEVERITIES) : finding.result === 'silenced' ? 'silenced' : 'unknown'] += 1;
  }
  for (const position of data.roots) {
    const host = data.hosts[data.findings[position].host];
    if (host) {
      host.findings.push(position);
      if (!host.first && data.findings[position].result === 'fire') host.first = data.findings[position];
    }
  }
}

const statusRank = (host) => STATUSES.indexOf(known(host.status, STATUSES));
const byStatus = (one, other) => statusRank(one) - statusRank(other) || other.counts.critical - one.counts.critical || other.counts.warning - one.counts.warning || one.name.localeCompare(other.name, locale, { numeric: true });

function hostLink(position, label) {
  const host = data.hosts[position];
  return make('a', { class: 'host', href: `#${address({ open: host.name })}` }, label || host.name);
}

function visibleHosts() {
  const wanted = searchWords();
  const needsFinding = filters.severity || filters.category || filters.change;
  const found = new Set();
  if (needsFinding || wanted.length) {
    for (const position of data.roots) if (isWanted(data.findings[position], wanted)) found.add(data.findings[position].host);
  }
  return data.hosts.filter((host) => {
    if (filters.host && host.name !== filters.host) return false;
    if (filters.status && host.status !== filters.status) return false;
    if (found.has(host.position)) return true;
    if (needsFinding) return false;
    const own = `${host.name} ${host.reason || ''}`.toLowerCase();
    return wanted.every((word) => own.includes(word));
  });
}

// The map of the fleet. It is one stop of the tab key; the arrows move inside.
function renderFleet(hosts) {
  const holder = byId('fleet');
  if (data.hosts.length < 2) {
    holder.hidden = true;
    return;
  }
  const named = data.hosts.length <= NAMED_TILES;
  const visible = new Set(hosts.map((host) => host.position));
  const tiles = [...data.hosts].sort(byStatus).map((host, rank) => {
    const label = `${host.name}: ${words(host.status)}`;
    const tile = make('a', {
      class: `tile s-${known(host.status, STATUSES)}${visible.has(host.position) ? '' : ' dim'}`, href: `#${address({ open: host.name })}`, title: label,
      'aria-label': label, tabindex: rank ? -1 : 0,
    }, icon(known(host.status, STATUSES)), named ? make('span', null, host.name) : null);
    return tile;
  });
  const map = make('div', { class: `map ${named ? 'named' : data.hosts.length > LARGE_TILES ? 'dense' : ''}`, role: 'group', 'aria-label': words('fleet_hosts') }, tiles);
  map.addEventListener('keydown', (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = tiles.indexOf(document.activeElement);
    const next = move && tiles[at + move];
    if (!next) return;
    event.preventDefault();
    tiles[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  holder.replaceChildren(map);
}

const sorting = { key: 'status', down: false };
const SORTS = {
  status: byStatus,
  name: (one, other) => one.name.localeCompare(other.name, locale, { numeric: true }),
  findings: (one, other) => ['critical', 'warning', 'info', 'unknown'].reduce((order, key) => order || other.counts[key] - one.counts[key], 0),
};

function countsOf(host) {
  const parts = ['critical', 'warning', 'info', 'unknown', 'silenced'].filter((key) => host.counts[key]);
  return make('span', { class: 'counts' }, parts.map((key) => make('span', { class: `s-${key}` }, icon(key, words(key)), String(host.counts[key]))));
}

function hostRow(host) {
  const unchecked = host.unchecked ? words('not_checked', { n: count(host.unchecked) }) : '';
  const first = host.first ? text(host.first.title) : host.reason || unchecked;
  return make(
    'tr', { class: `s-${known(host.status, STATUSES)}` },
    make('td', { 'data-label': words('status') }, show('status', host.status)),
    make('th', { scope: 'row', 'data-label': words('host_column') }, hostLink(host.position)),
    make('td', { 'data-label': words('findings_column') }, countsOf(host)),
    make('td', { class: 'first', 'data-label': words('first_column') }, make('bdi', null, first || make('span', { class: 'absent' }, words('only_findings')))),
  );
}

function renderHostTable(hosts) {
  const order = SORTS[sorting.key];
  const sorted = [...hosts].sort((one, other) => (sorting.down ? -order(one, other) : order(one, other)));
  const head = [['status', 'status'], ['name', 'host_column'], ['findings', 'findings_column']].map(([key, label]) => {
    const active = sorting.key === key;
    const button = make('button', { type: 'button', class: 'sort', 'data-sort': key, title: words('sort', { name: words(label) }), onclick: () => {
      sorting.down = active ? !sorting.down : false;
      sorting.key = key;
      renderHostTable(visibleHosts());
      byId('hosts').querySelector(`[data-sort="${key}"]`).focus();
    } }, words(label), make('span', { 'aria-hidden': 'true' }, active ? (sorting.down ? ' ▲' : ' ▼') : ''));
    return make('th', { scope: 'col', 'aria-sort': active ? (sorting.down ? 'descending' : 'ascending') : 'none' }, button);
  });
  const body = make('tbody');
  const more = paged(body, sorted, HOST_PAGE_SIZE, hostRow);
  byId('hosts').replaceChildren(
    sectionTitle('hosts', words('hosts'), isFiltered() ? words('shown_hosts', { n: count(hosts.length), all: count(data.hosts.length) }) : count(data.hosts.length)),
    hosts.length
      ? make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': words('hosts') },
        make('table', { class: 'hosts stack' }, make('caption', { class: 'hidden' }, words('hosts')), make('thead', null, make('tr', null, head, make('th', { scope: 'col' }, words('first_column')))), body))
      : make('p', { class: 'empty' }, words(data.hosts.length ? 'nothing_matches' : 'no_hosts')),
    more,
  );
}

function renderHosts() {
  const hosts = visibleHosts();
  renderFleet(hosts);
  renderHostTable(hosts);
}

// Details of a host

const parsed = new Map();

async function unpack(id) {
  const raw = Uint8Array.from(atob(byId(id).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

async function loadDetails(host) {
  if (!host.detail) return null;
  if (document.readyState === 'loading') await new Promise((resolve) => { document.addEventListener('DOMContentLoaded', resolve, { once: true }); });
  if (!parsed.has(host.detail)) parsed.set(host.detail, host.detail.startsWith('packed') ? await unpack(host.detail) : JSON.parse(byId(host.detail).textContent));
  return host.detail.startsWith('packed') ? parsed.get(host.detail)[host.position] : parsed.get(host.detail);
}

const SECTIONS = [
  ['docker', ['services', 'containers']],
  ['http', ['endpoints', 'links', 'logins']],
  ['postgres', ['postgres', 'queries', 'blocked', 'waiting', 'tables']],
  ['migrations', ['migrations']],
  ['logs', ['logs', 'messages', 'requests', 'paths']],
  ['ports', ['conflicts', 'reachable', 'published', 'listeners']],
  ['host', ['filesystems', 'processes', 'oom_kills']],
  ['unread', ['unread']],
];

// Returns the rows of a table as mappings, for a chart.
const asMappings = (name, rows) => rows.map((row) => Object.fromEntries(data.tables[name].map(([label], position) => [label, row[position]])));

const chartsOf = {
  queries: (rows) => queryChart(asMappings('queries', rows), 180),
  endpoints: (rows) => endpointChart(asMappings('endpoints', rows), 180),
  paths: (rows) => requestChart(asMappings('paths', rows), 180, ['max', 'p95', 'p50'], 'path_times_note'),
};

function sectionTables(section, names, details) {
  const parts = [];
  if (section === 'logs' && details.timeline) parts.push(errorChart(details.timeline, 120), details.timeline.sources.length > 1 ? errorRows(details.timeline) : null);
  for (const name of names) {
    const rows = details.tables[name];
    if (rows) parts.push(names.length > 1 ? make('h4', null, words(`table_${name}`)) : null, chartsOf[name] ? chartsOf[name](rows) : null, table(words(`table_${name}`), data.tables[name], rows, { ranked: name in chartsOf }));
  }
  if (section === 'docker') parts.push(...details.lines.map(([container, lines]) => fold(words('last_lines', { name: container }), () => make('pre', { tabindex: 0 }, make('code', { dir: 'ltr' }, lines.join('\n'))), { name: 'fold small' })));
  return parts;
}

function sectionNote(section, names, details) {
  const rows = names.flatMap((name) => (data.tables[name][0][1] === 'status' ? (details.tables[name] || []).map((row) => row[0]) : []));
  const worst = ['critical', 'warning', 'unknown'].map((status) => [status, rows.filter((value) => value === status).length]).filter(([, number]) => number);
  return worst.length ? make('span', { class: 'counts' }, worst.map(([status, number]) => make('span', { class: `s-${status}` }, icon(status, words(status)), String(number)))) : null;
}

function hostFacts(details) {
  const rows = data.facts.map(([label, kind], position) => [label, kind, details.facts[position]]).filter(([, , value]) => value !== null && value !== undefined && value !== '');
  return rows.length ? make('dl', { class: 'facts' }, rows.map(([label, kind, value]) => make('div', null, make('dt', null, words(`f_${label}`)), make('dd', null, show(kind, value))))) : null;
}

function hostNews(details) {
  const lines = details.changes || [];
  return lines.length ? fold(words('news'), () => make('ul', { class: 'news' }, lines.map((line) => make('li', null, make('bdi', null, line)))), { note: count(lines.length), open: lines.length <= 5 }) : null;
}

function hostSections(details) {
  return SECTIONS.map(([section, names]) => {
    const has = names.some((name) => details.tables[name]);
    return has ? fold(words(`section_${section}`), () => sectionTables(section, names, details), { note: sectionNote(section, names, details) }) : null;
  }).filter(Boolean);
}

async function openPanel(name) {
  const host = data.hosts.find((one) => one.name === name);
  const panel = byId('panel');
  if (!host) {
    closePanel();
    return;
  }
  forgetCharts(panel);
  const body = make('div', { class: 'panel-body' }, host.reason ? make('p', { class: 'reason' }, host.reason) : null);
  const fired = host.findings.filter((position) => data.findings[position].result === 'fire');
  const others = host.findings.filter((position) => data.findings[position].result !== 'fire');
  const close = make('button', { type: 'button', class: 'quiet', 'aria-label': words('close'), title: words('close'), onclick: () => panel.close() }, icon('close'));
  panel.replaceChildren(make('header', null, statusIcon(host.status), make('h2', { id: 'panel-title', tabindex: -1, autofocus: true }, host.name), make('span', { class: 'muted' }, host.passed ? words('checks_passed', { n: count(host.passed) }) : ''), close), body);
  if (fired.length) body.append(make('h3', null, words('findings')), make('div', { class: 'list' }, fired.map((position, rank) => findingItem(position, { inPanel: true, open: rank === 0 }))));
  if (others.length) body.append(fold(words('not_judged', { n: count(others.length) }), () => make('div', { class: 'list' }, others.map((position) => findingItem(position, { inPanel: true }))), { name: 'fold small' }));
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  const place = make('div', { class: 'details' }, make('p', { class: 'muted' }, words('loading')));
  body.append(place);
  try {
    const details = await loadDetails(host);
    if (details) place.replaceChildren(...[hostFacts(details), hostNews(details), make('div', { class: 'folds' }, hostSections(details))].filter(Boolean));
    else if (host.status === 'unreachable') place.replaceChildren();
    else place.replaceChildren(make('p', { class: 'muted' }, words(host.cut ? 'cut_details' : 'no_details')));
  } catch (problem) {
    place.replaceChildren(make('p', { class: 'muted' }, words('old_browser')));
    console.warn(problem);
  }
}

function closePanel() {
  if (byId('panel').open) byId('panel').close();
}
