// Facts about the instance.

import { byId, counted, el, percent, problemBlock, whole } from './dom.js';
import { readFacts, state } from './state.js';

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

function bytes(count) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log(Math.max(1, count)) / Math.log(1000)));
  const format = { style: 'unit', unit: UNITS[power], maximumFractionDigits: power ? 1 : 0 };
  return new Intl.NumberFormat(undefined, format).format(count / 1000 ** power);
}

const when = (milliseconds) => new Date(milliseconds).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

function index(facts) {
  const found = facts.Index;
  if (!found) return 'none: every item is compared';
  const recall = found.Recall === null ? 'exact' : `recall ${percent.format(found.Recall)}`;
  return `${found.Structure}, ${recall}, ${counted(found.Items, 'item', 'items')}, ${when(found.UtcCreate)}`;
}

function limits({ max_bytes, min_side, max_side, max_pixels }) {
  const sides = max_side === null ? `from ${min_side} pixels a side` : `${min_side} to ${whole.format(max_side)} pixels a side`;
  return `below ${bytes(max_bytes)}, ${sides}, up to ${whole.format(max_pixels / 1e6)} megapixels`;
}

function list(facts) {
  const rows = [
    ['Name', facts.Name],
    ['Kind', facts.Kind === 'product' ? 'products, with categories' : 'generic, without categories'],
    ['Created', when(facts.UtcCreate)],
    ['Index', index(facts)],
    ['Newer than the index', counted(facts.Unindexed, 'item', 'items')],
    ['On disk', bytes(facts.DiskBytes)],
    ['Pictures', limits(facts.Limits)],
    ['Features from', facts.Devices.join(', ')],
    ['Folder', facts.Path],
  ];
  if (facts.NeedsReindex) rows.push(['Model', 'older than this release: “imgsearch add --reindex” renews the features']);
  return rows.filter(([, value]) => value).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)));
}

function categories(facts) {
  const most = Math.max(1, ...facts.Categories.map((one) => one.Count));
  const rows = [...facts.Categories].sort((a, b) => b.Count - a.Count).map((one) => {
    const bar = el('span', { class: 'bar-line', 'aria-hidden': 'true' }, el('i'));
    bar.firstChild.style.width = `${(one.Count / most) * 100}%`;
    return el('tr', {}, el('th', { scope: 'row' }, one.Name), el('td', { class: 'number' }, whole.format(one.Count)), el('td', { class: 'bars' }, bar));
  });
  return el('table', { class: 'counts' }, el('caption', {}, 'Items by category'), el('tbody', {}, rows));
}

export async function showInstance() {
  const place = byId('facts');
  place.setAttribute('aria-busy', 'true');
  try {
    const facts = await readFacts();
    if (facts.Name !== state.instance) return;
    place.replaceChildren(
      el('div', { class: 'figures' },
        el('p', {}, el('b', {}, whole.format(facts.TotalCount)), el('span', {}, facts.TotalCount === 1 ? 'item' : 'items')),
        el('p', {}, el('b', {}, whole.format(facts.Products)), el('span', {}, facts.Products === 1 ? 'product' : 'products')),
        el('p', {}, el('b', {}, bytes(facts.DiskBytes)), el('span', {}, 'on disk'))),
      el('div', { class: 'two' },
        el('dl', { class: 'facts panel-like' }, list(facts)),
        facts.Kind === 'product' && facts.Categories.length ? el('div', { class: 'panel-like' }, categories(facts)) : null));
  } catch (error) {
    place.replaceChildren(problemBlock(error, showInstance));
  }
  place.removeAttribute('aria-busy');
}
