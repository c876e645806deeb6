// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Tables: `columns` are [label, kind], `rows` arrays of values.

const NUMERIC = ['id', 'number', 'bytes', 'ms', 'seconds', 'percent', 'meter'];

function meter(value) {
  const bar = make('span', { class: `meter ${value >= 90 ? 'full' : value >= 75 ? 'high' : ''}`, 'aria-hidden': 'true' }, make('span'));
  bar.firstChild.style.width = `${Math.max(0, Math.min(100, value))}%`;
  return [make('span', { class: 'figure' }, `${decimals.format(value)} %`), bar];
}

function show(kind, value) {
  if (value === null || value === undefined || value === '') return make('span', { class: 'absent', 'aria-label': words('unknown') }, '–');
  if (kind === 'status' || kind === 'level') return make('span', { class: 'status' }, statusIcon(kind === 'level' && value === 'error' ? 'critical' : value), make('span', null, words(value)));
  if (kind === 'code') return make('code', { dir: 'ltr' }, String(value));
  if (kind === 'list') return Array.isArray(value) && value.length ? value.map((word) => make('code', { dir: 'ltr', class: 'word' }, word)) : make('span', { class: 'absent' }, words('none'));
  if (kind === 'boolean') return words(value ? 'yes' : 'no');
  if (kind === 'reach') return words(`reach_${value}`);
  if (kind === 'new') return value ? make('span', { class: 'tag new' }, words('new')) : '';
  if (kind === 'time') return String(value).slice(0, 19).replace('T', ' ');
  if (typeof value !== 'number') return String(value);
  if (kind === 'id') return String(value);
  if (kind === 'bytes') return bytes(value);
  if (kind === 'ms') return milliseconds(value);
  if (kind === 'seconds') return seconds(value);
  if (kind === 'percent') return `${decimals.format(value)} %`;
  if (kind === 'meter') return meter(value);
  return shortNumber(value);
}

// Columns in which no row has a value would only take room; a status is always shown.
function usedColumns(columns, rows) {
  return columns.map((dummy, position) => position).filter((position) => columns[position][1] === 'status' || rows.some((row) => {
    const value = row[position];
    return value !== null && value !== undefined && value !== '' && !(Array.isArray(value) && !value.length);
  }));
}

function table(caption, columns, rows, more) {
  const { ranked, host } = more || {};
  const used = usedColumns(columns, rows);
  const cls = (kind) => (NUMERIC.includes(kind) ? 'num' : ['code', 'prose'].includes(kind) ? 'long' : null);
  const head = used.map((position) => make('th', { scope: 'col', class: cls(columns[position][1]) }, words(`c_${columns[position][0]}`)));
  const body = rows.map((row, rank) => make(
    'tr', null,
    ranked ? make('td', { class: 'num rank' }, `#${rank + 1}`) : null,
    used.map((position) => make('td', { class: cls(columns[position][1]), 'data-label': words(`c_${columns[position][0]}`) }, position === host ? hostLink(row[position]) : show(columns[position][1], row[position]))),
  ));
  return make(
    'div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    make('table', null, make('caption', { class: 'hidden' }, caption), make('thead', null, make('tr', null, ranked ? make('th', { class: 'num' }, '#') : null, head)), make('tbody', null, body)),
  );
}

// A part that is built when it is opened for the first time.
function fold(title, build, more) {
  const { open, note, name } = more || {};
  const body = make('div', { class: 'body' });
  const details = make('details', { class: name || 'fold' }, make('summary', null, icon('chevron'), make('span', { class: 'heading' }, title), note ? make('span', { class: 'muted note' }, note) : null), body);
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

// Shows the first `size` rows of a long list, and a button for the next.
function paged(container, entries, size, build) {
  let shown = 0;
  const next = () => {
    const part = entries.slice(shown, shown + size);
    container.append(...part.map((entry, position) => build(entry, shown + position)));
    shown += part.length;
  };
  const button = make('button', { type: 'button', class: 'more' });
  const label = () => {
    button.textContent = words('more', { n: count(Math.min(size, entries.length - shown)) });
    button.hidden = shown >= entries.length;
  };
  button.addEventListener('click', () => {
    const before = container.lastElementChild;
    next();
    label();
    const first = before && before.nextElementSibling;
    const target = first && (first.querySelector('summary, button, a') || first);
    if (target) target.focus();
  });
  next();
  label();
  return button;
}

// A line over the last runs, drawn as SVG; what it shows is said in words as well. A run that lacks the number is a gap.

const SPARK_WIDTH = 240;
const SPARK_HEIGHT = 28;

function drawn(tag, properties, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function sparkline(label, values) {
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const x = (position) => 3 + (position * (SPARK_WIDTH - 6)) / Math.max(1, values.length - 1);
  const y = (value) => (high === low ? SPARK_HEIGHT / 2 : SPARK_HEIGHT - 4 - ((value - low) * (SPARK_HEIGHT - 8)) / (high - low));
  const at = (position) => `${x(position).toFixed(1)} ${y(values[position]).toFixed(1)}`;
  const steps = values.map((value, position) => (value === null ? '' : `${position && values[position - 1] !== null ? 'L' : 'M'}${at(position)}`));
  const last = values.length - 1;
  const marks = values.map((value, position) => (value === null ? null : drawn('circle', { class: position === last ? 'last' : 'run', cx: x(position).toFixed(1), cy: y(value).toFixed(1), r: position === last ? 3 : 1.5 })));
  return drawn('svg', { class: 'line', viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, role: 'img', 'aria-label': label }, drawn('title', {}, label), drawn('path', { d: steps.join('') }), ...marks.filter(Boolean));
}

function historyRow(name, values) {
  const title = words(`h_${name}`);
  const known = values.filter((value) => value !== null);
  const last = values[values.length - 1];
  const now = last === null ? words('unknown') : byName(name, last);
  const range = { name: title, now, low: byName(name, Math.min(...known)), high: byName(name, Math.max(...known)), n: count(values.length) };
  return make('div', { class: 'spark run' }, make('span', { class: 'name' }, make('b', null, title)), sparkline(words('history_chart', range), values),
    make('span', { class: 'muted range' }, range.low === range.high ? '' : `${range.low} – ${range.high}`), make('span', { class: 'total' }, now));
}
