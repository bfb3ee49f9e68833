// Making elements without markup in text: what items are called is never taken for HTML.

export const byId = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const el = (name, properties = {}, ...children) => filled(document.createElement(name), properties, children);

export const svg = (name, properties = {}, ...children) =>
  filled(document.createElementNS(SVG, name), properties, children);

export function icon(path) {
  return svg('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: 'icon' }, svg('path', { d: path }));
}

// Tell people who hear the page what has changed on it.
export function say(text) {
  const live = byId('live');
  live.textContent = '';
  requestAnimationFrame(() => { live.textContent = text; });
}

// What stands where content would be: nothing found, something wrong.
export function stateBlock(title, text, ...more) {
  return el('div', { class: 'state' }, el('h3', {}, title), text ? el('p', {}, text) : null, ...more);
}

export function problemBlock(problem, again, label = 'Try again') {
  const block = stateBlock('That did not work', problem.message);
  block.setAttribute('role', 'alert');
  block.append(el('button', { type: 'button', onclick: again }, label));
  return block;
}

export function skeletons(count) {
  const tiles = Array.from({ length: count }, () =>
    el('li', { class: 'card skeleton' }, el('div', { class: 'frame' }), el('div', { class: 'line' }), el('div', { class: 'line short' })));
  return el('ul', { class: 'cards', 'aria-hidden': 'true' }, tiles);
}

// A message below a field; an empty one takes it away.
export function fieldProblem(input, place, message) {
  place.textContent = message;
  place.hidden = !message;
  if (message) input.setAttribute('aria-invalid', 'true');
  else input.removeAttribute('aria-invalid');
}

export const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
export const percent = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0 });
export const score = (value) => (Math.floor(value * 1000) / 1000).toFixed(3);
export const counted = (count, one, many) => `${whole.format(count)} ${count === 1 ? one : many}`;
