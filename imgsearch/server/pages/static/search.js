// Searching: with a picture, one of its subjects or a region of it, or with a stored item.

import { get, post } from './api.js';
import { Cards } from './cards.js';
import { byId, counted, el, percent, problemBlock, say, skeletons, stateBlock, whole } from './dom.js';
import { clearOptions, filterProblem, options, prepareOptions, refreshOptions } from './options.js';
import { fitting, pictureOf } from './photo.js';
import { parsed, written } from './regions.js';
import { Stage } from './stage.js';
import { categoryName, hasCategories, link, ofInstance, readFacts, state } from './state.js';
import { tile } from './tiles.js';

const PAGE = 24;
const MAX_RESULTS = 500;
const PICTURE_CODES = new Set(['InvalidPicContent', 'NoSpecifiedPicContent', 'PictureError', 'UnsupportedPicFormat', 'UnsupportedPicPixels']);
const CORNERS = ['x1', 'x2', 'y1', 'y2'];

let query = null; // { blob, name } or { product, picture }
let own = null; // the last picture somebody gave, for coming back to it
let subjects = [];
let choice = { mode: 'subject', number: 0 }; // or { mode: 'whole' }, { mode: 'own', region }
let under = new AbortController();
let stage = null;

// Asking

function chosenPart() {
  if (choice.mode === 'whole') return { crop: false };
  if (choice.mode === 'own') return { region: written(choice.region) };
  return choice.number ? { region: written(subjects[choice.number]) } : {};
}

function ask(start, signal) {
  const params = ofInstance({ ...options(), start: start || undefined, num: Math.min(PAGE, MAX_RESULTS - start) });
  if (query.blob) return post('search', { ...params, ...chosenPart() }, query.blob, signal);
  return get('similar', { ...params, product_id: query.product, pic_name: query.picture }, signal);
}

function pageOf(answer, start) {
  const end = start + answer.Auctions.length;
  const full = answer.Auctions.length === Math.min(PAGE, MAX_RESULTS - start);
  return { items: answer.Auctions, more: full && end < Math.min(answer.Head.DocsFound, MAX_RESULTS) };
}

async function run() {
  if (!query || (choice.mode === 'own' && !choice.region)) return;
  under.abort();
  under = new AbortController();
  const { signal } = under;
  const results = byId('results');
  filterProblem('');
  byId('results-summary').textContent = 'Searching …';
  results.replaceChildren(skeletons(8));
  results.setAttribute('aria-busy', 'true');
  try {
    const answer = await ask(0, signal);
    told(answer);
    if (!answer.Auctions.length) results.replaceChildren(nothing(answer));
    else new Cards(results, async (start) => pageOf(await ask(start, signal), start)).start(pageOf(answer, 0), signal);
  } catch (error) {
    if (error.name === 'AbortError') return;
    failed(error, results);
  }
  results.removeAttribute('aria-busy');
}

// Telling

function told(answer) {
  const picture = answer.PicInfo;
  if (query.blob && choice.mode === 'subject' && choice.number === 0) {
    subjects = picture.MultiRegion.map((one) => parsed(one.Region));
    showSubjects();
  }
  showChoice();
  note([query.scaled && 'Scaled down by your browser to what the instance takes.', answer.Warning].filter(Boolean).join(' '));
  const parts = [counted(answer.Head.DocsFound, 'item compared', 'items compared'), `${whole.format(answer.Head.SearchTime)} ms`];
  if (hasCategories()) parts.push(inCategories(picture));
  if (answer.Head.LeftOut) parts.push(`${whole.format(answer.Head.LeftOut)} left out`);
  byId('results-summary').textContent = parts.join(' · ');
  say(`${counted(answer.Auctions.length, 'result', 'results')} shown. ${parts[0]}.`);
}

function inCategories(picture) {
  const searched = picture.SearchedCategories.map(categoryName);
  if (!searched.length) return 'every category';
  const sure = picture.Confidence === undefined ? '' : ` (${percent.format(picture.Confidence)})`;
  if (searched.length === 1) return `${searched[0]}${sure}`;
  return `probably ${categoryName(picture.CategoryId)}${sure}, searched in ${searched.join(', ')}`;
}

function nothing(answer) {
  const given = options();
  if (state.facts?.TotalCount === 0) return stateBlock('Nothing to find yet', 'This instance is empty. “imgsearch add” fills it.');
  if (!answer.Head.DocsFound && given.filter) return stateBlock('No item meets the filter', 'Nothing was left to compare with the picture.');
  if (!answer.Head.DocsFound && hasCategories() && !given.any_category) {
    const every = () => {
      byId('category').value = 'any';
      byId('options').dispatchEvent(new Event('change'));
    };
    return stateBlock('No items in this category', inCategories(answer.PicInfo), el('button', { type: 'button', onclick: every }, 'Search every category'));
  }
  if (given.min_score) return stateBlock('Nothing resembles it that closely', 'A lower least Score finds more.');
  return stateBlock('Nothing found', 'Try another subject, or fewer options.');
}

function failed(error, results) {
  byId('results-summary').textContent = '';
  if (error.code === 'InvalidFilterClause') {
    results.replaceChildren(stateBlock('The filter has a mistake', 'See below the filter.'));
    filterProblem(error.message);
    byId('filter').focus();
    say(error.message);
  } else if (query.blob !== undefined && PICTURE_CODES.has(error.code)) {
    results.replaceChildren(problemBlock(error, () => byId('file').click(), 'Choose another picture'));
  } else results.replaceChildren(problemBlock(error, run));
}

function note(text) {
  byId('query-note').textContent = text;
  byId('query-note').hidden = !text;
}

// Choosing a part of the picture

function radio(value, label) {
  return el('label', { class: 'chip' }, el('input', { type: 'radio', name: 'part', value, onchange: chosen }), el('span', {}, label));
}

function showSubjects() {
  const several = subjects.length > 1;
  const names = subjects.map((_, number) => radio(String(number), several ? `Subject ${number + 1}` : 'Subject'));
  byId('subject-list').replaceChildren(...names, radio('whole', 'Whole picture'), radio('own', 'Own region'));
  byId('subjects').hidden = false;
  showChoice();
}

function chosen(event) {
  const { value } = event.target;
  if (value === 'own') {
    // Starts from what was searched with, and searches once it is drawn or its edges are given.
    const before = choice.mode === 'subject' ? subjects[choice.number] : null;
    choice = { mode: 'own', region: null };
    writeCorners(before ?? { x1: 0, x2: stage.size?.width ?? 100, y1: 0, y2: stage.size?.height ?? 100 });
    showChoice();
    return;
  }
  choose(value === 'whole' ? { mode: 'whole' } : { mode: 'subject', number: Number(value) });
}

function choose(wanted) {
  choice = wanted;
  if (choice.mode === 'own') writeCorners(choice.region);
  showChoice();
  run();
}

function showChoice() {
  const value = choice.mode === 'subject' ? String(choice.number) : choice.mode;
  for (const input of byId('subject-list').querySelectorAll('input')) input.checked = input.value === value;
  const isOwn = choice.mode === 'own';
  byId('corners').hidden = !isOwn;
  stage.setDrawing(isOwn);
  stage.mark(subjects, isOwn ? choice.region : choice.mode === 'whole' ? null : choice.number);
}

function writeCorners(region) {
  for (const name of CORNERS) byId(name).value = region[name];
}

function cornersGiven(event) {
  event.preventDefault();
  const region = Object.fromEntries(CORNERS.map((name) => [name, byId(name).valueAsNumber]));
  byId('x2').setCustomValidity(region.x2 > region.x1 ? '' : 'The right edge lies right of the left one.');
  byId('y2').setCustomValidity(region.y2 > region.y1 ? '' : 'The bottom lies below the top.');
  if (event.target.reportValidity()) choose({ mode: 'own', region });
}

// Beginning

function begin(title) {
  under.abort();
  subjects = [];
  choice = { mode: 'subject', number: 0 };
  byId('subjects').hidden = true;
  byId('corners').hidden = true;
  stage.setDrawing(false);
  note('');
  clearOptions();
  refreshOptions();
  byId('start').hidden = true;
  byId('query').hidden = false;
  byId('query-title').textContent = title;
  byId('another').textContent = query.product ? 'Search with a picture' : 'Another picture';
  window.scrollTo(0, 0);
  byId('query-title').focus({ preventScroll: true });
}

async function withPicture(file) {
  if (!file || !state.instance) return;
  own = file;
  query = { blob: null, name: file.name || 'pasted picture' };
  if (location.hash !== link('search')) history.pushState(null, '', link('search'));
  document.dispatchEvent(new CustomEvent('show-search'));
  begin('Your picture');
  byId('results-summary').textContent = '';
  byId('results').replaceChildren(skeletons(8));
  stage.show(file, query.name);
  const mine = query;
  try {
    const { Limits } = state.facts ?? (await readFacts());
    const { blob, scaled } = await fitting(file, Limits);
    if (query !== mine) return;
    Object.assign(query, { blob, scaled });
    if (scaled) stage.show(blob, query.name); // regions are in pixels of what is sent
    refreshOptions();
    await run();
  } catch (error) {
    if (query === mine) failed(error, byId('results'));
  }
}

async function withItem(product, picture) {
  if (query && query.product === product && query.picture === picture && query.of === state.instance) return;
  query = { product, picture, of: state.instance };
  begin(`Like ${product}`);
  const mine = query;
  stage.showItem(el('div', { class: 'frame' }));
  const looking = get('item', ofInstance({ product_id: product, pic_name: picture }));
  run();
  const item = await looking.catch(() => null); // the search tells what is wrong
  if (item && query === mine) stage.showItem(tile(item, { size: 'large' }));
}

function startAnew() {
  under.abort();
  query = null;
  stage.clear();
  byId('query').hidden = true;
  byId('start').hidden = false;
}

export function showSearch(params) {
  refreshOptions();
  const [product, picture] = [params.get('product'), params.get('picture')];
  if (product && picture) withItem(product, picture);
  else if (query?.product && own) withPicture(own);
  else if (!query || query.product) startAnew();
}

export function forgetQuery() {
  own = null;
  startAnew();
}

export function prepareSearch() {
  stage = new Stage(byId('stage'), {
    chosen: (number) => choose({ mode: 'subject', number }),
    drawn: (region) => choose({ mode: 'own', region }),
    ready: ({ width, height }) => {
      for (const name of CORNERS) byId(name).max = name.startsWith('x') ? width : height;
    },
  });
  prepareOptions(run);
  byId('corners').addEventListener('submit', cornersGiven);
  byId('corners').addEventListener('input', () => CORNERS.forEach((name) => byId(name).setCustomValidity('')));
  for (const [button, input] of [['choose', 'file'], ['another', 'file'], ['photo', 'camera']]) {
    byId(button).addEventListener('click', () => byId(input).click());
  }
  for (const id of ['file', 'camera']) {
    byId(id).addEventListener('change', (event) => {
      withPicture(event.target.files[0]);
      event.target.value = ''; // so that the same one can be chosen again
    });
  }
  prepareDropping();
}

function prepareDropping() {
  const isOurs = (event) => state.instance && [...(event.dataTransfer?.types ?? [])].includes('Files');
  const shade = byId('dropping');
  window.addEventListener('dragenter', (event) => { if (isOurs(event)) shade.hidden = false; });
  window.addEventListener('dragover', (event) => { if (isOurs(event)) event.preventDefault(); });
  window.addEventListener('dragleave', (event) => { if (!event.relatedTarget) shade.hidden = true; });
  window.addEventListener('drop', (event) => {
    shade.hidden = true;
    if (!isOurs(event)) return;
    event.preventDefault();
    taken(event.dataTransfer);
  });
  window.addEventListener('paste', (event) => {
    if (!state.instance || !event.clipboardData?.files.length) return;
    event.preventDefault();
    taken(event.clipboardData);
  });
}

function taken(transfer) {
  const file = pictureOf(transfer);
  if (file) withPicture(file);
  else {
    byId('drop-hint').textContent = 'That was no picture. Drop one anywhere on this page, or paste it.';
    say('That was no picture.');
  }
}
