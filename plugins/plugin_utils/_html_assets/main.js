// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The page itself: overview, filters, trends, theme, and the address that keeps filters and the open host.

let openHost = '';

// The address after the #: what is filtered and which host is open, so that a link shows the same to somebody else.
function address(change) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filters, open: openHost, ...change })) if (value) parameters.set(name, value);
  return parameters.toString();
}

function writeAddress() {
  const target = address({});
  history.replaceState(null, '', target ? `#${target}` : location.pathname + location.search);
}

function readAddress() {
  const hash = location.hash.slice(1);
  if (hash && !hash.includes('=')) return;
  const parameters = new URLSearchParams(hash);
  Object.keys(filters).forEach((name) => { filters[name] = parameters.get(name) || ''; });
  openHost = parameters.get('open') || '';
}

function renderAll() {
  const shown = renderFindings();
  renderHosts();
  renderResolved();
  showFilters();
  return shown;
}

function setFilter(change) {
  Object.assign(filters, change);
  writeAddress();
  announce(words('shown', { n: count(renderAll()), all: count(fired.length) }));
}

const toggleFilter = (name, value) => setFilter({ [name]: filters[name] === value ? '' : value });

// Overview

const fired = data.roots.filter((position) => data.findings[position].result === 'fire');

function renderCounts() {
  const numbers = Object.fromEntries(STATUSES.map((status) => [status, data.hosts.filter((host) => known(host.status, STATUSES) === status).length]));
  const present = STATUSES.filter((status) => numbers[status]);
  const share = make('div', { class: 'share', 'aria-hidden': 'true' }, present.map((status) => {
    const slice = make('span', { class: `s-${status}` });
    slice.style.flexGrow = numbers[status];
    return slice;
  }));
  const buttons = present.map((status) => make(
    'button', { type: 'button', class: `chip s-${status}`, 'data-status': status, 'aria-pressed': 'false', onclick: () => toggleFilter('status', status) },
    icon(status), make('b', null, count(numbers[status])), words(status),
  ));
  byId('counts').append(share, make('div', { class: 'chips', role: 'group', 'aria-label': words('status') }, buttons));
}

function renderChanges() {
  const number = (change) => fired.filter((position) => data.findings[position].change === change).length;
  if (!data.compared) {
    byId('changes').append(make('p', { class: 'muted' }, words('no_last')));
    return;
  }
  const button = (change) => make('button', { type: 'button', class: 'chip plain', 'data-change': change, 'aria-pressed': 'false', onclick: () => toggleFilter('change', change) }, make('b', null, count(number(change))), words(change));
  byId('changes').append(make(
    'div', { class: 'chips', role: 'group', 'aria-label': words('since_last') }, make('span', { class: 'muted' }, words('since_last')),
    button('new'), button('ongoing'), make('a', { class: 'chip plain', href: '#resolved' }, make('b', null, count(data.resolved_count)), words('resolved')),
    data.not_seen_count ? make('span', { class: 'muted' }, words('not_seen_again', { n: count(data.not_seen_count) })) : null,
  ));
}

function renderPulse() {
  const { timeline } = data.trends;
  byId('pulse').append(timeline ? errorChart(timeline, 128) : make('p', { class: 'empty' }, words('no_log_data')));
}

// Filters

function select(name, label, everything, values) {
  const element = make('select', { id: `filter-${name}`, 'aria-label': label, onchange: () => setFilter({ [name]: element.value }) },
    make('option', { value: '' }, everything), values.map(([value, shown]) => make('option', { value }, shown)));
  return element;
}

function renderTools() {
  let waiting = 0;
  const search = make('input', {
    type: 'search', id: 'search', placeholder: words('search_hint'), 'aria-label': words('search'), autocomplete: 'off', spellcheck: 'false',
    oninput: () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => setFilter({ q: search.value.trim() }), 120);
    },
  });
  const numbers = (severity) => fired.filter((position) => data.findings[position].severity === severity).length;
  const severities = SEVERITIES.filter(numbers).map((severity) => make(
    'button', { type: 'button', class: `chip s-${severity}`, 'data-severity': severity, 'aria-pressed': 'false', onclick: () => toggleFilter('severity', severity) },
    icon(severity), words(severity), make('b', null, count(numbers(severity))),
  ));
  const categories = [...new Set(data.findings.map((finding) => text(finding.category)))].filter(Boolean).sort();
  const names = data.hosts.map((host) => host.name).sort((one, other) => one.localeCompare(other, locale, { numeric: true }));
  const clear = make('button', { type: 'button', class: 'quiet', id: 'clear', onclick: () => {
    search.value = '';
    setFilter(noFilters());
    search.focus();
  } }, words('clear'));
  byId('tools').append(
    make('label', { class: 'search' }, icon('search'), search, make('kbd', { 'aria-hidden': 'true' }, '/')),
    make('div', { class: 'chips', role: 'group', 'aria-label': words('severity') }, severities),
    select('category', words('category'), words('all_categories'), categories.map((name) => [name, name])),
    names.length > 1 ? select('host', words('host'), words('all_hosts'), names.map((name) => [name, name])) : '',
    clear,
  );
}

// Shows in the controls what is filtered now, whichever way it was set.
function showFilters() {
  for (const name of ['status', 'severity', 'change']) {
    document.querySelectorAll(`[data-${name}]`).forEach((button) => button.setAttribute('aria-pressed', String(button.dataset[name] === filters[name])));
  }
  for (const name of ['category', 'host']) if (byId(`filter-${name}`)) byId(`filter-${name}`).value = filters[name];
  if (document.activeElement !== byId('search')) byId('search').value = filters.q;
  byId('clear').hidden = !isFiltered();
}

// Trends

const TREND_HEIGHT = 244;

function trendTable(title, columns, rows) {
  return table(title, [['host', 'text'], ...columns], rows.map((row) => [row.host, ...columns.map(([label]) => row[label])]), { ranked: true, host: 0 });
}

function renderTrends() {
  const { timeline, queries, endpoints, requests } = data.trends;
  const parts = [];
  if (data.history) {
    parts.push(make('div', { class: 'trend whole history' }, make('h3', null, words('history')), make('p', { class: 'muted' }, words('history_note', { n: count(data.history.times.length), time: `${isoTime(data.history.times[0])} ${words('utc')}` })),
      make('div', { class: 'sparks' }, Object.entries(data.history.series).map(([name, values]) => historyRow(name, values)))));
  }
  if (timeline && timeline.sources.length) parts.push(make('div', { class: 'trend whole' }, make('h3', null, `${words('errors_per_minute')} · ${words('by_source')}`), errorRows(timeline)));
  if (queries.length) parts.push(make('div', { class: 'trend' }, queryChart(queries, TREND_HEIGHT), trendTable(words('slow_queries'), [['query', 'code'], ['calls', 'number'], ['mean', 'ms'], ['total', 'ms']], queries)));
  if (endpoints.length) parts.push(make('div', { class: 'trend' }, endpointChart(endpoints, TREND_HEIGHT), trendTable(words('response_times'), [['url', 'code'], ['first_byte', 'ms'], ['total', 'ms']], endpoints)));
  if (requests.length) parts.push(make('div', { class: 'trend' }, requestChart(requests, TREND_HEIGHT, ['p99', 'p95', 'p50'], 'request_times_note'), trendTable(words('request_times'), [['source', 'code'], ['requests', 'number'], ['p50', 'ms'], ['p95', 'ms'], ['p99', 'ms']], requests)));
  byId('trends').hidden = !parts.length;
  byId('trends').append(sectionTitle('trends', words('trends')), make('div', { class: 'trends' }, parts));
}

function renderResolved() {
  const wanted = searchWords();
  const shown = data.resolved.filter((entry) => (!filters.host || entry.host === filters.host) && wanted.every((word) => Object.values(entry).join(' ').toLowerCase().includes(word)));
  byId('resolved').hidden = !data.resolved.length;
  const list = make('ul', { class: 'resolved' });
  byId('resolved').replaceChildren(
    sectionTitle('resolved', words('resolved_section'), count(data.resolved_count)),
    list,
    paged(list, shown, PAGE_SIZE, (entry) => make('li', null, icon('resolved'), make('bdi', null, entry.title || entry.rule || entry.id), make('span', { class: 'place' }, entry.host ? make('b', null, entry.host) : null, entry.object ? make('code', { dir: 'ltr' }, entry.object) : null))),
  );
}

function renderAbout() {
  const cut = data.without_details || 0;
  data.hosts.forEach((host) => { host.cut = cut > 0 && !host.detail; });
  byId('when').append(words(data.recorded ? 'judged_recorded' : 'generated', { time: `${isoTime(data.generated_at || data.now)} ${words('utc')}` }));
  byId('about').append(sectionTitle('about', words('about')), make(
    'ul', { class: 'notes' },
    cut ? make('li', { class: 'cut' }, words('note_cut', { n: count(cut) })) : null,
    data.merged ? make('li', null, words('note_merged', { n: count(data.merged.inputs) })) : null,
    data.merged && data.merged.overlaps ? make('li', { class: 'cut' }, words('note_overlaps', { n: count(data.merged.overlaps), names: data.merged.hosts.join(', ') })) : null,
    data.left_out ? make('li', { class: 'cut' }, words('note_left_out', { n: count(data.left_out) })) : null,
    data.shortened ? make('li', { class: 'cut' }, words('note_shortened', { n: count(data.shortened) })) : null,
    make('li', null, words('note_utc')), make('li', null, words('note_harmless')), make('li', null, words('note_offline')),
    data.version ? make('li', null, words('version', { version: data.version })) : null,
  ));
}

function renderNav() {
  const targets = ['findings', 'hosts', 'trends', 'unknown', 'silenced'].filter((id) => !byId(id).hidden);
  byId('nav').append(...targets.map((id) => make('a', { href: `#${id}`, onclick: (event) => {
    event.preventDefault();
    byId(id).scrollIntoView();
  } }, words(id === 'unknown' || id === 'silenced' ? `${id}_section` : id))));
}

// Theme: the system's, until somebody chooses.

const dark = matchMedia('(prefers-color-scheme: dark)');

function storedTheme(value) {
  try {
    if (value) localStorage.setItem('stackops-theme', value);
    return localStorage.getItem('stackops-theme');
  } catch (dummy) {
    return value || null;
  }
}

function applyTheme(value) {
  if (value) document.documentElement.dataset.theme = value;
  redrawCharts();
}

function startTheme() {
  applyTheme(storedTheme());
  byId('theme').addEventListener('click', () => {
    const now = document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light');
    const next = now === 'dark' ? 'light' : 'dark';
    storedTheme(next);
    applyTheme(next);
  });
  dark.addEventListener('change', redrawCharts);
}

// Printed, what is folded would be lost.
function startPrinting() {
  let opened = [];
  window.addEventListener('beforeprint', () => {
    const within = byId('panel').open ? byId('panel') : document;
    opened = [];
    for (let depth = 0; depth < 5; depth += 1) {
      const closed = [...within.querySelectorAll('details:not([open])')].slice(0, 400);
      closed.forEach((details) => {
        if (details.fill) details.fill();
        details.open = true;
      });
      opened.push(...closed);
    }
    redrawCharts();
  });
  window.addEventListener('afterprint', () => opened.forEach((details) => { details.open = false; }));
}

function startPanel() {
  const panel = byId('panel');
  panel.addEventListener('close', () => {
    forgetCharts(panel);
    panel.replaceChildren();
    openHost = '';
    writeAddress();
  });
  panel.addEventListener('click', (event) => event.target === panel && panel.close());
  const follow = () => {
    readAddress();
    renderAll();
    if (openHost) openPanel(openHost);
    else closePanel();
  };
  window.addEventListener('hashchange', () => {
    if (!location.hash || location.hash.includes('=')) follow();
  });
}

document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !byId('panel').open && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    byId('search').focus();
  }
});

prepareHosts();
readAddress();
startTheme();
renderCounts();
renderChanges();
renderTools();
renderAbout();
renderAll();
renderPulse();
renderTrends();
renderNav();
startPrinting();
startPanel();
if (openHost) openPanel(openHost);
document.documentElement.dataset.ready = 'yes';
