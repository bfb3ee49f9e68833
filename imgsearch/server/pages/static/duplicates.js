// Groups of pictures that show the same.

import { get } from './api.js';
import { card } from './cards.js';
import { byId, counted, el, problemBlock, say, skeletons, stateBlock, whole } from './dom.js';
import { fillCategories, ofInstance, state } from './state.js';

const GROUPS = 10;

let under = new AbortController();
let shownOf = null;

function problem(text, input) {
  byId('duplicates-problem').textContent = text;
  byId('duplicates-problem').hidden = !text;
  for (const id of ['duplicates-filter', 'least']) byId(id).removeAttribute('aria-invalid');
  if (input) {
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  }
}

function group(one, signal) {
  const kind = one.Level === 'same' ? 'The same' : 'Similar';
  const rest = one.TotalCount - one.Pictures.length;
  return el('section', { class: 'group' },
    el('h2', {}, kind, el('span', { class: 'count' }, counted(one.TotalCount, 'picture', 'pictures'))),
    el('ul', { class: 'cards' }, one.Pictures.map((item, number) => card(number ? item : { ...item, Leads: true }, signal))),
    rest > 0 ? el('p', { class: 'hint small' }, `and ${whole.format(rest)} more`) : null);
}

function render(answer, signal) {
  const list = byId('duplicates-list');
  const compared = counted(answer.Compared, 'item', 'items');
  byId('duplicates-summary').textContent = `${counted(answer.TotalGroups, 'group', 'groups')} among ${compared}`;
  say(byId('duplicates-summary').textContent);
  if (!answer.Groups.length) {
    list.replaceChildren(stateBlock('No duplicates', `${compared} compared; no two of them show the same.`));
    return;
  }
  const groups = el('div');
  const more = el('button', { type: 'button', class: 'more' }, 'Show more');
  const notes = [];
  if (answer.Unhashed) notes.push(`${counted(answer.Unhashed, 'item has', 'items have')} no perceptual hash: of these, only identical files are found.`);
  if (answer.TotalGroups > answer.Groups.length) notes.push(`The first ${whole.format(answer.Groups.length)} groups are listed here; “imgsearch duplicates” lists all.`);
  const grow = () => {
    const before = groups.children.length;
    groups.append(...answer.Groups.slice(before, before + GROUPS).map((one) => group(one, signal)));
    more.hidden = groups.children.length >= answer.Groups.length;
    if (before) groups.children[before]?.querySelector('button')?.focus({ preventScroll: true });
  };
  more.addEventListener('click', grow);
  grow();
  list.replaceChildren(groups, more, ...notes.map((text) => el('p', { class: 'hint small' }, text)));
}

async function find() {
  under.abort();
  under = new AbortController();
  const { signal } = under;
  const list = byId('duplicates-list');
  const similar = byId('level').value === 'similar';
  problem('');
  if (similar && !byId('least').checkValidity()) {
    problem('The least Score is a number from 0 to 1.', byId('least'));
    return;
  }
  byId('duplicates-summary').textContent = 'Comparing …';
  list.replaceChildren(skeletons(4));
  list.setAttribute('aria-busy', 'true');
  try {
    const answer = await get('duplicates', ofInstance({
      level: byId('level').value,
      products: byId('products').value,
      min_score: similar ? byId('least').value : undefined,
      category: byId('duplicates-category').value,
      filter: byId('duplicates-filter').value.trim(),
    }), signal);
    render(answer, signal);
  } catch (error) {
    if (error.name === 'AbortError') return;
    byId('duplicates-summary').textContent = '';
    if (error.code === 'InvalidFilterClause') {
      list.replaceChildren();
      problem(error.message, byId('duplicates-filter'));
    } else list.replaceChildren(problemBlock(error, find));
  }
  list.removeAttribute('aria-busy');
}

export function showDuplicates() {
  fillCategories(byId('duplicates-category'), [['', 'All']]);
  if (shownOf === state.instance) return; // coming back finds what was found
  shownOf = state.instance;
  under.abort();
  byId('duplicates-summary').textContent = '';
  byId('duplicates-list').replaceChildren(stateBlock('Nothing compared yet', 'No picture is read for it: what is stored of them is compared.'));
}

export function prepareDuplicates() {
  byId('level').addEventListener('change', () => { byId('least-field').hidden = byId('level').value !== 'similar'; });
  byId('duplicates-form').addEventListener('submit', (event) => {
    event.preventDefault();
    find();
  });
}
