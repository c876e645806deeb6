// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The page's data, its words, and how values are shown. Collected text reaches the document as text nodes only.

const data = JSON.parse(document.getElementById('index').textContent);
const locale = data.language === 'zh_TW' ? 'zh-Hant-TW' : 'en';
const SEVERITIES = ['critical', 'warning', 'info'];
const STATUSES = ['critical', 'unreachable', 'warning', 'unknown', 'ok'];

const byId = (id) => document.getElementById(id);

function words(key, values) {
  const text = data.texts[key] === undefined ? key : data.texts[key];
  return values ? text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole)) : text;
}

// Returns an element. `properties` are attributes, and `on...` listeners; `children` are nodes and texts.
function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

function icon(name, label) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', `icon i-${name}`);
  if (label) {
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', label);
  } else {
    svg.setAttribute('aria-hidden', 'true');
  }
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

const known = (status, among) => (among.includes(status) ? status : 'unknown');
const statusIcon = (status) => icon(known(status, [...STATUSES, ...SEVERITIES, 'silenced', 'error']), words(status || 'unknown'));
// The end of a path is what tells it from others.
const shortPath = (path) => (path.startsWith('/') && path.split('/').length > 4 ? `…/${path.split('/').slice(-3).join('/')}` : path);
const text = (position) => (position === undefined || position === null ? '' : data.strings[position]);

// Numbers and times

const integers = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const decimals = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

const count = (value) => integers.format(value);
const shortNumber = (value) => (Math.abs(value) >= 100 || Number.isInteger(value) ? integers : decimals).format(value);
const isoTime = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ');
const clockTime = (seconds) => clock.format(new Date(seconds * 1000));

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let power = 0;
  while (Math.abs(value) >= 1024 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${decimals.format(value)} ${units[power]}`;
}

const milliseconds = (value) => (Math.abs(value) >= 1000 ? seconds(value / 1000) : `${decimals.format(value)} ms`);

function seconds(value) {
  if (Math.abs(value) < 60) return `${decimals.format(value)} s`;
  const parts = [[86400, 'd', 3600, 'h'], [3600, 'h', 60, 'min'], [60, 'min', 1, 's']];
  const [size, unit, smaller, smallerUnit] = parts.find(([least]) => Math.abs(value) >= least);
  const rest = Math.floor((value % size) / smaller);
  return `${Math.floor(value / size)} ${unit}${rest && value < size * 10 ? ` ${rest} ${smallerUnit}` : ''}`;
}

const age = (since) => (data.now - since < 60 ? words('just_now') : seconds(data.now - since));

// Shows `value` by the unit that its name ends in.
function byName(name, value) {
  if (typeof value === 'boolean') return words(value ? 'yes' : 'no');
  if (typeof value === 'number') {
    if (name.endsWith('_bytes')) return bytes(value);
    if (name.endsWith('_ms')) return milliseconds(value);
    if (name.endsWith('_seconds')) return seconds(value);
    if (name.endsWith('_percent')) return `${decimals.format(value)} %`;
    return Number.isInteger(value) && /(_id|pid|port|code|status)$/.test(name) ? String(value) : shortNumber(value);
  }
  return String(value);
}

// Commands

function announce(message) {
  byId('live').textContent = '';
  byId('live').textContent = message;
}

// Pages opened over plain http have no clipboard API.
function copyOldWay(value) {
  const area = make('textarea', { class: 'hidden', readonly: true });
  area.value = value;
  (byId('panel').open ? byId('panel') : document.body).append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}

async function copy(value, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(value);
  } catch (dummy) {
    done = copyOldWay(value);
    button.focus();
  }
  const message = words(done ? 'copied' : 'copy_failed');
  button.classList.toggle('done', done);
  button.lastChild.textContent = message;
  announce(message);
  setTimeout(() => {
    button.classList.remove('done');
    button.lastChild.textContent = words('copy');
  }, 1600);
}

function command(value) {
  const button = make('button', { type: 'button', class: 'copy' }, icon('copy'), make('span', null, words('copy')));
  button.addEventListener('click', () => copy(value, button));
  return make('div', { class: 'command' }, make('pre', { tabindex: 0 }, make('code', { dir: 'ltr' }, value)), button);
}

const hasWords = (prose) => /[\p{L}\p{N}]/u.test(prose);

// Shows one step of a fix. What stands between backticks is a command: one that ends the step, or is long, gets its own line.
function step(value) {
  const parts = value.split('`').map((content, position) => ({ content, isCommand: position % 2 === 1 })).filter(({ content }) => content.trim());
  const shown = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.some((piece) => typeof piece !== 'string' || hasWords(piece))) shown.push(make('p', null, paragraph));
    paragraph = [];
  };
  parts.forEach(({ content, isCommand }, position) => {
    const isLast = !parts.slice(position + 1).some((later) => later.isCommand || hasWords(later.content));
    if (isCommand && (content.length > 40 || (isLast && content.includes(' ')) || parts.length === 1)) {
      flush();
      shown.push(command(content.trim()));
    } else {
      paragraph.push(isCommand ? make('code', { dir: 'ltr' }, content) : content);
    }
  });
  flush();
  return shown;
}
