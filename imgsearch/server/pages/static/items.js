// Browsing the stored items, and looking one up.

import { get } from './api.js';
import { Cards } from './cards.js';
import { openDetail } from './detail.js';
import { byId, counted, problemBlock, say, skeletons, stateBlock } from './dom.js';
import { fillCategories, link, ofInstance, place, state } from './state.js';

const PAGE = 48;
const FIELDS = { product: 'items-product', picture: 'items-picture', category: 'items-category', filter: 'items-filter' };

let under = new AbortController();

const asked = () => Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, byId(id).value.trim()]));

function problem(text, id) {
  byId('items-problem').textContent = text;
  byId('items-problem').hidden = !text;
  for (const each of Object.values(FIELDS)) byId(each).removeAttribute('aria-invalid');
  if (id) {
    byId(id).setAttribute('aria-invalid', 'true');
    byId(id).focus();
  }
}

async function read(given, start, signal) {
  const selection = { product_id: given.product, category: given.category, filter: given.filter };
  const answer = await get('items', ofInstance({ ...selection, start, num: PAGE }), signal);
  return { items: answer.Items, more: start + answer.Items.length < answer.TotalCount, total: answer.TotalCount };
}

function nothing(given) {
  if (given.filter || given.category) return stateBlock('No item meets this', 'Try another filter or category.');
  if (given.product) return stateBlock('No such product', `No item has the product id “${given.product}”.`);
  return stateBlock('No items yet', 'This instance is empty. “imgsearch add” fills it.');
}

export async function showItems(params) {
  under.abort();
  under = new AbortController();
  const { signal } = under;
  fillCategories(byId('items-category'), [['', 'All']]);
  for (const [name, id] of Object.entries(FIELDS)) byId(id).value = params.get(name) ?? '';
  const given = asked();
  const list = byId('items-list');
  problem('');
  byId('items-summary').textContent = '';
  if (given.picture && !given.product) {
    list.replaceChildren();
    problem('A picture name needs the id of its product, too.', 'items-product');
    return;
  }
  list.replaceChildren(skeletons(12));
  list.setAttribute('aria-busy', 'true');
  try {
    if (given.picture) await lookUp(given, signal, list);
    else await browse(given, signal, list);
  } catch (error) {
    if (error.name === 'AbortError') return;
    if (error.code === 'InvalidFilterClause') {
      list.replaceChildren();
      problem(error.message, 'items-filter');
    } else if (error.code === 'PicNotExist') {
      list.replaceChildren(stateBlock('No such item', `Product “${given.product}” has no picture “${given.picture}”.`));
      say('No such item');
    } else list.replaceChildren(problemBlock(error, () => showItems(params)));
  }
  list.removeAttribute('aria-busy');
}

async function lookUp(given, signal, list) {
  const item = await get('item', ofInstance({ product_id: given.product, pic_name: given.picture }), signal);
  const cards = new Cards(list, async () => ({ items: [], more: false }));
  cards.start({ items: [item], more: false }, signal);
  byId('items-summary').textContent = '1 item';
  openDetail(item);
}

async function browse(given, signal, list) {
  const first = await read(given, 0, signal);
  byId('items-summary').textContent = counted(first.total, 'item', 'items');
  say(byId('items-summary').textContent);
  if (!first.total) list.replaceChildren(nothing(given));
  else new Cards(list, (start) => read(given, start, signal)).start(first, signal);
}

export function prepareItems() {
  byId('items-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = link('items', asked());
    if (wanted === location.hash) showItems(place().params); // the same again: others may have written
    else location.hash = wanted;
  });
  byId('items-form').addEventListener('reset', () => {
    if (state.instance) location.hash = link('items');
  });
}
