// What all views share: who is signed in, the instances, and the one that is shown.

import { get } from './api.js';
import { byId, el } from './dom.js';

export const state = { keyId: null, instances: [], instance: null, facts: null };

export const ofInstance = (params = {}) => ({ instance: state.instance, ...params });

export function categoryName(number) {
  const known = state.facts?.AllCategories ?? [];
  return known.find((one) => one.Id === number)?.Name ?? String(number);
}

export const hasCategories = () => state.facts?.Kind === 'product';

export async function readFacts() {
  const name = state.instance;
  const facts = await get('facts', { instance: name });
  if (state.instance === name) state.facts = facts;
  return facts;
}

// The choices of a list of categories: first those that are none.
export function fillCategories(select, before) {
  const chosen = select.value;
  const options = (state.facts?.AllCategories ?? []).map((one) => el('option', { value: one.Id }, one.Name));
  select.replaceChildren(...before.map(([value, label]) => el('option', { value }, label)), ...options);
  if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
  byId(`${select.id}-field`).hidden = !hasCategories();
}

// Addresses of views, which can be kept and sent: what is looked at stands in them, pictures never.
export function link(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '');
  if (state.instances.length > 1) given.unshift(['in', state.instance]);
  const query = new URLSearchParams(given);
  return `#/${view}${given.length ? `?${query}` : ''}`;
}

export function place() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  return { view: path || 'search', params: new URLSearchParams(query) };
}
