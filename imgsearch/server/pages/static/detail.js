// All that is stored of one item, in a dialog.

import { get } from './api.js';
import { byId, el, score } from './dom.js';
import { categoryName, hasCategories, link, ofInstance } from './state.js';
import { tile } from './tiles.js';

const NUMBERED = ['IntAttr', 'IntAttr2', 'IntAttr3', 'IntAttr4', 'StrAttr', 'StrAttr2', 'StrAttr3', 'StrAttr4'];

const dialog = byId('detail');

function facts(item, found) {
  const known = [
    ['Product id', item.ProductId],
    ['Picture name', item.PicName],
    ['Score', found.Score === undefined || found.Leads ? null : found.Identical ? '1, the same picture' : score(found.Score)],
    ['Category', hasCategories() ? `${categoryName(item.CategoryId)}${item.CategoryGiven ? '' : ' (predicted)'}` : null],
    ['CustomContent', item.CustomContent],
    ...NUMBERED.map((name) => [name, item[name]]),
    ['Region', item.Region && `${item.Region}${item.Crop ? (item.RegionGiven ? ' (given)' : ' (found)') : ' (the whole picture)'}`],
    ['File', item.Path],
  ];
  return known
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value))));
}

export async function openDetail(found) {
  const leaving = new AbortController();
  dialog.addEventListener('close', () => leaving.abort(), { once: true });
  byId('detail-title').textContent = found.ProductId;
  byId('detail-facts').replaceChildren();
  note('');
  byId('detail-like').href = link('search', { product: found.ProductId, picture: found.PicName });
  byId('detail-product').href = link('items', { product: found.ProductId });
  const told = ({ changed }) => note(changed ? 'This file has changed since the item was added.' : '');
  byId('detail-picture').replaceChildren(tile(found, { size: 'large', signal: leaving.signal, told }));
  if (!dialog.open) dialog.showModal();
  try {
    const item = await get('item', ofInstance({ product_id: found.ProductId, pic_name: found.PicName }), leaving.signal);
    byId('detail-facts').replaceChildren(...facts(item, found));
  } catch (error) {
    if (error.name !== 'AbortError') note(error.message);
  }
}

function note(text) {
  byId('detail-note').textContent = text;
  byId('detail-note').hidden = !text;
}

export function prepareDetail() {
  byId('detail-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  for (const id of ['detail-like', 'detail-product']) byId(id).addEventListener('click', () => dialog.close());
  window.addEventListener('hashchange', () => dialog.close());
  document.addEventListener('login-needed', () => dialog.close());
}
