// What to search for besides the picture: category, filter, least Score. Each change searches anew.

import { byId, fieldProblem } from './dom.js';
import { fillCategories, hasCategories } from './state.js';

const ANY = 'any';

export function options() {
  const category = hasCategories() ? byId('category').value : '';
  return {
    category: category === ANY ? '' : category,
    any_category: category === ANY ? true : undefined,
    filter: byId('filter').value.trim(),
    min_score: Number(byId('min-score').value) || undefined,
    distinct_product: byId('distinct').checked || undefined,
    exclude_self: byId('exclude-self').checked || undefined,
  };
}

export function filterProblem(message) {
  fieldProblem(byId('filter'), byId('filter-problem'), message);
  if (message) byId('options-fold').open = true;
}

export function refreshOptions() {
  fillCategories(byId('category'), [['', 'As recognised'], [ANY, 'Every category']]);
  count();
}

export function clearOptions() {
  byId('options').reset();
  filterProblem('');
  showScore();
  count();
}

function count() {
  const set = Object.values(options()).filter((value) => value !== undefined && value !== '').length;
  byId('options-count').textContent = set ? `${set} set` : '';
}

function showScore() {
  byId('min-score-value').textContent = Number(byId('min-score').value).toFixed(2);
}

export function prepareOptions(changed) {
  byId('options-fold').open = matchMedia('(min-width: 860px)').matches;
  byId('min-score').addEventListener('input', showScore);
  byId('options').addEventListener('change', () => {
    count();
    changed();
  });
  byId('options').addEventListener('submit', (event) => {
    event.preventDefault(); // Enter in the filter, whose change event has been
  });
}
