// Pictures of items: loaded when they come into view, with their region drawn in; a quiet tile where none can be shown.

import { thumbnail } from './api.js';
import { el, icon, svg } from './dom.js';
import { box, isWhole, parsed } from './regions.js';
import { ofInstance } from './state.js';

const NO_PICTURE = 'M5 5h14v14H5zM5 16l4-4 3 3 3-3 4 4M9 9.5h.01';

const watching = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watching.unobserve(entry.target);
    entry.target.dispatchEvent(new CustomEvent('into-view'));
  }
}, { rootMargin: '300px' });

function placeholder(item, reason) {
  return el('div', { class: 'no-picture', role: 'img', 'aria-label': `${item.PicName}: ${reason}`, title: reason },
    icon(NO_PICTURE), el('span', {}, item.PicName));
}

function drawn(item, shown) {
  const address = URL.createObjectURL(shown.blob);
  const label = `${item.ProductId}, ${item.PicName}`;
  const { width, height } = shown;
  const picture = svg('image', { href: address, width, height });
  picture.addEventListener('load', () => URL.revokeObjectURL(address), { once: true });
  const region = item.Region && !shown.changed ? parsed(item.Region) : null;
  const mark = region && !isWhole(region, width, height) ? box(region, { class: 'region' }) : null;
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label, class: 'picture' }, picture, mark);
}

// A frame with the picture of an item; `told` is called with what is known of the picture once it is there.
export function tile(item, { size = 'small', signal = undefined, told = () => {} } = {}) {
  const frame = el('div', { class: 'frame' });
  if (!item.Picture) {
    frame.append(placeholder(item, 'this server does not show its picture'));
    return frame;
  }
  frame.classList.add('loading');
  frame.addEventListener('into-view', async () => {
    try {
      const shown = await thumbnail(ofInstance({ product_id: item.ProductId, pic_name: item.PicName, size }), signal);
      frame.replaceChildren(drawn(item, shown));
      told(shown);
    } catch (error) {
      if (error.name !== 'AbortError') frame.replaceChildren(placeholder(item, error.message));
    }
    frame.classList.remove('loading');
  }, { once: true });
  watching.observe(frame);
  return frame;
}
