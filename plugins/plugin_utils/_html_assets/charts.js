// Copyright (c) 2026, stackops.runbook contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Charts, drawn by uPlot. A canvas cannot follow the style sheet, so all of them are drawn anew when the theme changes.

const charts = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const fontFamily = () => getComputedStyle(document.body).fontFamily;

// Returns an element that holds a chart as wide as itself; `options` is a function, since colours change with the theme.
function chart(height, label, options, values) {
  const holder = make('div', { class: 'chart', role: 'img', 'aria-label': label });
  holder.style.height = `${height}px`;
  const entry = { holder, plot: null };
  entry.draw = () => {
    if (entry.plot) entry.plot.destroy();
    entry.plot = null;
    const width = Math.floor(holder.clientWidth);
    if (width > 20) entry.plot = new uPlot({ width, height, legend: { show: false }, ...options() }, values, holder);
  };
  entry.observer = new ResizeObserver(() => {
    const width = Math.floor(holder.clientWidth);
    if (!entry.plot) entry.draw();
    else if (width > 20 && width !== entry.plot.width) entry.plot.setSize({ width, height });
  });
  entry.observer.observe(holder);
  charts.add(entry);
  return holder;
}

function forgetCharts(container) {
  for (const entry of charts) {
    if (container.contains(entry.holder)) {
      entry.observer.disconnect();
      if (entry.plot) entry.plot.destroy();
      charts.delete(entry);
    }
  }
}

const redrawCharts = () => charts.forEach((entry) => entry.draw());

function axis(more) {
  return {
    stroke: colour('muted'), font: `11px ${fontFamily()}`, labelFont: `11px ${fontFamily()}`, labelGap: 2, labelSize: 16, gap: 4,
    grid: { stroke: colour('grid'), width: 1 }, ticks: { show: false }, ...more,
  };
}

const timeAxis = () => axis({ size: 22, grid: { show: false }, values: (plot, splits) => splits.map(clockTime), space: 60 });
const countAxis = () => axis({ size: 34, values: (plot, splits) => splits.map((value) => (Number.isInteger(value) ? count(value) : '')), space: 24 });

const moments = (timeline) => timeline.errors.map((dummy, position) => timeline.start + position * timeline.step);
const inUtc = (moment) => uPlot.tzDate(new Date(moment * 1000), 'Etc/UTC');
// A bar stands on the step that begins at its moment, so the axis ends a step after the last.
const wholeSteps = (length) => (plot, low, high) => [low, high + length];
const fromZero = (plot, low, high) => [0, high > 0 ? high * 1.08 : 1];

// All timelines share a cursor: the readouts of all of them are of the same minute.
function timeCursor() {
  return { sync: { key: 'minutes', setSeries: false }, y: false, points: { show: false }, drag: { x: false, y: false } };
}

function timelineSummary(timeline) {
  const total = timeline.errors.reduce((sum, value) => sum + value, 0);
  const peak = Math.max(...timeline.errors);
  const when = clockTime(timeline.start + timeline.errors.indexOf(peak) * timeline.step);
  const minutes = Math.round((timeline.errors.length * timeline.step) / 60);
  return words('errors_chart', { errors: count(total), minutes: count(minutes), peak: count(peak), time: when });
}

function errorChart(timeline, height) {
  const readout = make('span', { class: 'readout' });
  const summary = timelineSummary(timeline);
  const bars = uPlot.paths.bars({ size: [0.8, 24], align: 1 });
  const figure = make(
    'figure', { class: 'timeline' },
    make('figcaption', null, make('b', null, words('errors_per_minute')), readout),
    chart(height, summary, () => ({
      scales: { x: { range: wholeSteps(timeline.step) }, y: { range: fromZero } },
      tzDate: inUtc,
      axes: [timeAxis(), countAxis()],
      cursor: timeCursor(),
      series: [{}, { stroke: colour('critical'), fill: colour('critical'), width: 0, points: { show: false }, paths: bars }],
      hooks: { setCursor: [(plot) => {
        const at = plot.cursor.idx;
        readout.textContent = at === null || at === undefined || plot.cursor.left < 0 ? summary : `${clockTime(plot.data[0][at])} · ${count(plot.data[1][at])}`;
      }] },
    }), [moments(timeline), timeline.errors]),
  );
  readout.textContent = summary;
  return figure;
}

// One line per source, all on one scale: its name, its errors over time, how many there are.
function errorRows(timeline) {
  const peak = Math.max(...timeline.sources.flatMap((source) => source.errors));
  const bars = uPlot.paths.bars({ size: [0.8, 16], align: 1 });
  const x = moments(timeline);
  return make('div', { class: 'sparks' }, timeline.sources.map((source) => {
    const total = make('span', { class: 'total' }, count(source.total));
    return make(
      'div', { class: 'spark' },
      make('span', { class: 'name' }, source.name.map((part, position) => (position || source.name.length === 1 ? make('code', { dir: 'ltr', title: part }, shortPath(part)) : make('b', null, part)))),
      chart(34, `${source.name.join(' ')}: ${count(source.total)}`, () => ({
        padding: [2, 0, 0, 0],
        scales: { x: { range: wholeSteps(timeline.step) }, y: { range: [0, peak] } },
        axes: [{ show: false }, { show: false }],
        cursor: timeCursor(),
        series: [{}, { fill: colour('critical'), stroke: colour('critical'), width: 0, points: { show: false }, paths: bars }],
        hooks: { setCursor: [(plot) => {
          const at = plot.cursor.idx;
          total.textContent = count(at === null || at === undefined || plot.cursor.left < 0 ? source.total : plot.data[1][at]);
        }] },
      }), [x, source.errors]),
      total,
    );
  }), timeline.more ? make('p', { class: 'muted' }, words('more_sources', { n: count(timeline.more) })) : null);
}

function legend(series) {
  return make('ul', { class: 'legend' }, series.map(({ label, colour: name, mark }) => make('li', null, make('span', { class: `swatch s-${name} ${mark || ''}` }), label)));
}

// Bars over ranks 1, 2, 3 …, which are the rows of the table below. Bars of several series either stand side by side, each on
// its own axis, or before one another, the longest behind.
function rankChart({ title, note, series: wanted, rows, sideBySide, unit, height }) {
  const series = wanted.filter(({ key }) => rows.some((row) => typeof row[key] === 'number'));
  const ranks = rows.map((dummy, position) => position + 1);
  const values = [ranks, ...series.map(({ key, scale }) => rows.map((row) => (typeof row[key] === 'number' ? row[key] * (scale || 1) : null)))];
  const number = (plot, splits) => splits.map((value) => (value === null ? '' : shortNumber(value)));
  const draw = () => ({
    scales: { x: { time: false, range: [0.4, Math.max(ranks.length, 6) + 0.6] }, left: { range: fromZero }, right: { range: fromZero } },
    axes: [
      axis({ size: 22, grid: { show: false }, splits: () => ranks, values: (plot, splits) => splits.map((rank) => `#${rank}`) }),
      axis({ scale: 'left', size: 46, values: number, space: 26, label: unit }),
      ...(sideBySide && series.length > 1 ? [axis({ scale: 'right', side: 1, size: 46, values: number, space: 26, grid: { show: false }, label: series[1].label })] : []),
    ],
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    series: [{}, ...series.map(({ colour: name }, position) => ({
      scale: sideBySide && position === 1 ? 'right' : 'left', stroke: colour(name), fill: colour(name), width: 0, points: { show: false },
      paths: uPlot.paths.bars(sideBySide ? { size: [0.34, 26], align: position ? 1 : -1, gap: 1 } : { size: [0.6, 34] }),
    }))],
  });
  return make('figure', { class: 'ranks' }, make('figcaption', null, make('b', null, title), make('span', { class: 'muted' }, note)), legend(series),
    chart(height, words('chart_label', { name: title }), draw, values));
}

const queryChart = (rows, height) => rankChart({
  height,
  title: words('slow_queries'), note: words('slow_queries_note'), rows, sideBySide: true, unit: words('mean_ms'),
  series: [{ key: 'mean', label: words('mean_ms'), colour: 'chart-1' }, { key: 'total', scale: 0.001, label: words('total_s'), colour: 'chart-3' }],
});

const endpointChart = (rows, height) => rankChart({
  height,
  title: words('response_times'), note: words('response_times_note'), rows, unit: 'ms',
  series: [
    { key: 'total', label: words('c_total'), colour: 'chart-4' }, { key: 'first_byte', label: words('c_first_byte'), colour: 'chart-2' },
    { key: 'tls', label: words('c_tls'), colour: 'chart-3' }, { key: 'connect', label: words('c_connect'), colour: 'chart-1' },
  ],
});

function requestChart(rows, height, keys, note) {
  const colours = ['chart-4', 'chart-2', 'chart-1'];
  return rankChart({
    height, title: words('request_times'), note: words(note), rows, unit: 'ms',
    series: keys.map((key, position) => ({ key, label: words(`c_${key}`), colour: colours[position] })),
  });
}
