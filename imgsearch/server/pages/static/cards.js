// Items as cards, alike in results, lists and groups of duplicates.

import { openDetail } from './detail.js';
import { counted, el, say, score } from './dom.js';
import { categoryName, hasCategories, link } from './state.js';
import { tile } from './tiles.js';

function scoreLine(item) {
  if (item.Score === undefined) return null;
  if (item.Leads) return el('p', { class: 'score' }, el('b', {}, 'Reference'));
  if (item.Identical) return el('p', { class: 'score' }, el('b', {}, 'Same picture'), el('span', { class: 'visually-hidden' }, ', Score 1'));
  const bar = el('span', { class: 'bar-line', 'aria-hidden': 'true' }, el('i'));
  bar.firstChild.style.width = `${Math.max(0, Math.min(1, item.Score)) * 100}%`;
  return el('p', { class: 'score' }, el('span', { class: 'visually-hidden' }, 'Score '), el('b', {}, score(item.Score)), bar);
}

// Names are often paths that begin alike: their ends tell them apart.
function ending(name) {
  const end = name.slice(name.lastIndexOf('/', name.length - 2) + 1);
  return end === name ? name : `…/${end}`;
}

export function card(item, signal) {
  const name = `${item.ProductId}, ${item.PicName}`;
  const category = hasCategories() && item.CategoryId !== undefined ? categoryName(item.CategoryId) : null;
  return el('li', { class: 'card' },
    el('button', { type: 'button', class: 'open', 'aria-label': `Details of ${name}`, onclick: () => openDetail(item) },
      tile(item, { signal })),
    el('div', { class: 'card-text' },
      scoreLine(item),
      el('p', { class: 'product', title: item.ProductId }, item.ProductId),
      el('p', { class: 'name', title: item.PicName }, ending(item.PicName)),
      category ? el('p', { class: 'name' }, category) : null),
    el('a', { class: 'like', href: link('search', { product: item.ProductId, picture: item.PicName }), 'aria-label': `More like this: ${name}` },
      'More like this'));
}

// A list of cards that grows: `read(start)` gives { items, more }, of which `more` says whether further ones are there.
export class Cards {
  constructor(place, read) {
    this.place = place;
    this.read = read;
    this.list = el('ul', { class: 'cards' });
    this.count = 0;
    this.button = el('button', { type: 'button', class: 'more', onclick: () => this.grow() }, 'Show more');
    this.problem = el('p', { class: 'problem', role: 'alert', hidden: true });
  }

  start(first, signal) {
    this.signal = signal;
    this.place.replaceChildren(this.list, this.problem, this.button);
    this.add(first);
  }

  add({ items, more }) {
    this.list.append(...items.map((item) => card(item, this.signal)));
    this.count += items.length;
    this.button.hidden = !more;
  }

  async grow() {
    this.button.disabled = true;
    this.button.textContent = 'Loading …';
    this.problem.hidden = true;
    const before = this.count;
    try {
      this.add(await this.read(this.count));
      say(`${counted(this.count, 'picture', 'pictures')} shown`);
      // Whoever goes on with the keyboard goes on at the first new one.
      this.list.children[before]?.querySelector('button')?.focus({ preventScroll: true });
    } catch (error) {
      if (error.name !== 'AbortError') {
        this.problem.textContent = error.message;
        this.problem.hidden = false;
      }
    }
    this.button.disabled = false;
    this.button.textContent = 'Show more';
  }
}
