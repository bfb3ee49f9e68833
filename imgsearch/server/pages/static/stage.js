// The query picture with its subjects: one can be chosen, or a region drawn with mouse, pen or finger.

import { el, icon, svg } from './dom.js';
import { box } from './regions.js';

const LEAST_DRAWN = 8; // pixels on the screen; less is a click

export class Stage {
  // `chosen` is called with the number of a subject, `drawn` with a region, `ready` once the size is known.
  constructor(place, { chosen, drawn, ready }) {
    this.place = place;
    this.calls = { chosen, drawn, ready };
    this.drawing = false;
    this.clear();
  }

  clear() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = null;
    this.size = null;
    this.overlay = null;
    this.subjects = [];
    this.active = null;
  }

  showItem(frame) {
    this.clear();
    this.place.replaceChildren(frame);
  }

  show(blob, name) {
    this.clear();
    this.address = URL.createObjectURL(blob);
    const image = el('img', { alt: 'The picture you search with', src: this.address });
    const fit = el('div', { class: 'fit' }, image);
    const address = this.address;
    image.addEventListener('load', () => {
      if (this.address !== address) return;
      this.size = { width: image.naturalWidth, height: image.naturalHeight };
      this.overlay = svg('svg', { viewBox: `0 0 ${this.size.width} ${this.size.height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', class: 'overlay' });
      fit.append(this.overlay);
      this.listen();
      this.draw();
      this.calls.ready(this.size);
    });
    image.addEventListener('error', () => {
      if (this.address !== address) return;
      const text = 'No preview: this browser cannot show this file.';
      this.place.replaceChildren(el('div', { class: 'no-picture', role: 'img', 'aria-label': `${name}: ${text}` },
        icon('M5 5h14v14H5zM5 16l4-4 3 3 3-3 4 4M9 9.5h.01'), el('span', {}, name), el('small', {}, text)));
    });
    this.place.replaceChildren(fit);
  }

  // `active`: the number of a subject, a region, or null for the whole picture.
  mark(subjects, active) {
    this.subjects = subjects;
    this.active = active;
    this.draw();
  }

  // Whether a finger draws instead of scrolling the page.
  setDrawing(drawing) {
    this.drawing = drawing;
    this.place.classList.toggle('drawing', drawing);
  }

  draw() {
    if (!this.overlay) return;
    const others = this.subjects.map((region, number) =>
      box(region, { class: number === this.active ? 'subject active' : 'subject', 'data-number': number }));
    const own = this.active !== null && typeof this.active === 'object' ? box(this.active, { class: 'subject active own' }) : null;
    // The active one is on top.
    others.sort((a, b) => Number(a.classList.contains('active')) - Number(b.classList.contains('active')));
    this.overlay.replaceChildren(...others, ...(own ? [own] : []));
  }

  at(event) {
    const edges = this.overlay.getBoundingClientRect();
    const x = ((event.clientX - edges.left) / edges.width) * this.size.width;
    const y = ((event.clientY - edges.top) / edges.height) * this.size.height;
    return { x: Math.min(this.size.width, Math.max(0, x)), y: Math.min(this.size.height, Math.max(0, y)) };
  }

  listen() {
    let from = null;
    let region = null;
    this.overlay.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || (event.pointerType === 'touch' && !this.drawing)) return;
      event.preventDefault();
      this.overlay.setPointerCapture(event.pointerId);
      from = { ...this.at(event), clientX: event.clientX, clientY: event.clientY };
      region = null;
    });
    this.overlay.addEventListener('pointermove', (event) => {
      if (!from) return;
      const wide = Math.abs(event.clientX - from.clientX) >= LEAST_DRAWN;
      const high = Math.abs(event.clientY - from.clientY) >= LEAST_DRAWN;
      region = wide && high ? between(from, this.at(event)) : null;
      this.overlay.replaceChildren(...(region ? [box(region, { class: 'subject active own' })] : []));
      if (!region) this.draw();
    });
    const done = (event) => {
      const drawn = region;
      const pressed = from;
      from = null;
      region = null;
      if (event.type === 'pointercancel') this.draw();
      else if (drawn) this.calls.drawn(drawn);
      else if (pressed || event.pointerType === 'touch') this.pick(event);
    };
    this.overlay.addEventListener('pointerup', done);
    this.overlay.addEventListener('pointercancel', done);
  }

  // The smallest subject below a click.
  pick(event) {
    const { x, y } = this.at(event);
    const area = ({ x1, x2, y1, y2 }) => (x2 - x1) * (y2 - y1);
    const below = this.subjects
      .map((region, number) => ({ region, number }))
      .filter(({ region }) => x >= region.x1 && x < region.x2 && y >= region.y1 && y < region.y2)
      .sort((a, b) => area(a.region) - area(b.region));
    if (below.length) this.calls.chosen(below[0].number);
    else this.draw();
  }
}

function between(a, b) {
  return {
    x1: Math.floor(Math.min(a.x, b.x)),
    x2: Math.ceil(Math.max(a.x, b.x)),
    y1: Math.floor(Math.min(a.y, b.y)),
    y2: Math.ceil(Math.max(a.y, b.y)),
  };
}
