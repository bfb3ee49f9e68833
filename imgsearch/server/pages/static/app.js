// The page: who is signed in, which instance and which view are shown.

import { get, post } from './api.js';
import { prepareDetail } from './detail.js';
import { byId, el, problemBlock } from './dom.js';
import { prepareDuplicates, showDuplicates } from './duplicates.js';
import { showInstance } from './instance.js';
import { prepareItems, showItems } from './items.js';
import { forgetQuery, prepareSearch, showSearch } from './search.js';
import { link, place, readFacts, state } from './state.js';

const VIEWS = {
  search: { title: 'Search', show: showSearch },
  items: { title: 'Items', show: showItems },
  duplicates: { title: 'Duplicates', show: showDuplicates },
  instance: { title: 'Instance', show: showInstance },
};

function only(id) {
  for (const view of document.querySelectorAll('.view')) view.hidden = view.id !== id;
}

function current(name) {
  only(`view-${name}`);
  document.title = `${VIEWS[name].title} – ${state.instance}`;
  for (const anchor of document.querySelectorAll('[data-view]')) {
    const view = anchor.dataset.view;
    anchor.href = link(view);
    if (view === name) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
}

async function route() {
  if (!state.instance) return;
  const { view, params } = place();
  const name = view in VIEWS ? view : 'search';
  const wanted = params.get('in');
  if (wanted && wanted !== state.instance && state.instances.includes(wanted)) await use(wanted);
  current(name);
  VIEWS[name].show(params);
  // What had the focus may be gone with the view before.
  if (document.activeElement === document.body) byId(`view-${name}`).querySelector('.title')?.focus({ preventScroll: true });
}

async function use(name) {
  state.instance = name;
  state.facts = null;
  byId('instance-name').value = name;
  forgetQuery();
  await readFacts().catch(() => null); // each view tells what is wrong with the instance
}

async function entered(session) {
  state.keyId = session.KeyId;
  state.instances = session.Instances;
  byId('bar').hidden = false;
  byId('sign-out').hidden = session.KeyId === null;
  byId('sign-out').title = session.KeyId === null ? '' : `Signed in as ${session.KeyId}`;
  const select = byId('instance-name');
  select.replaceChildren(...session.Instances.map((name) => el('option', { value: name }, name)));
  select.hidden = session.Instances.length < 2;
  const wanted = place().params.get('in');
  const name = session.Instances.includes(wanted) ? wanted : session.Instances[0];
  if (!name) {
    state.instance = null;
    byId('none-text').textContent = session.KeyId === null
      ? 'The server has no instance to show yet.' : `No instance is open to the key “${session.KeyId}”.`;
    only('view-none');
    return;
  }
  await use(name);
  await route();
}

function showLogin(message) {
  state.instance = null;
  byId('bar').hidden = true;
  only('view-login');
  document.title = 'Sign in – imgsearch';
  loginProblem(message);
  byId('key-id').focus();
}

function loginProblem(message) {
  byId('login-problem').textContent = message;
  byId('login-problem').hidden = !message;
}

async function login(event) {
  event.preventDefault();
  const button = event.target.querySelector('button');
  button.disabled = true;
  loginProblem('');
  try {
    const body = JSON.stringify({ KeyId: byId('key-id').value.trim(), Secret: byId('key-secret').value });
    const session = await post('login', {}, body);
    byId('key-secret').value = '';
    await entered(session);
    byId('content').focus({ preventScroll: true });
  } catch (error) {
    loginProblem(error.message);
    byId('key-secret').focus();
  }
  button.disabled = false;
}

async function logout() {
  await post('logout', {}, '').catch(() => null);
  forgetQuery();
  showLogin('');
}

async function start() {
  try {
    const session = await get('session');
    if (session.LoginNeeded) showLogin('');
    else await entered(session);
  } catch (error) {
    byId('content').append(problemBlock(error, () => location.reload()));
  }
}

byId('skip').addEventListener('click', (event) => {
  event.preventDefault(); // the address tells the view
  byId('content').focus();
});
byId('instance-name').addEventListener('change', async (event) => {
  const { view } = place();
  const before = location.hash;
  await use(event.target.value);
  location.hash = link(view in VIEWS ? view : 'search');
  if (location.hash === before) await route();
});
byId('login').addEventListener('submit', login);
byId('sign-out').addEventListener('click', logout);
document.addEventListener('login-needed', () => { if (state.instance) showLogin('Your session has ended. Sign in again.'); });
document.addEventListener('show-search', () => current('search'));
window.addEventListener('hashchange', route);
prepareDetail();
prepareSearch();
prepareItems();
prepareDuplicates();
start();
