// Regions as the server writes them, x1,x2,y1,y2 (both x first), and how they are drawn.

import { svg } from './dom.js';

export function parsed(text) {
  const [x1, x2, y1, y2] = text.split(',').map(Number);
  return { x1, x2, y1, y2 };
}

export const written = ({ x1, x2, y1, y2 }) => [x1, x2, y1, y2].join(',');

export const isWhole = (region, width, height) =>
  region.x1 <= 0 && region.y1 <= 0 && region.x2 >= width && region.y2 >= height;

// Two strokes, so that it shows on any picture.
export function box(region, properties = {}) {
  const edges = { x: region.x1, y: region.y1, width: region.x2 - region.x1, height: region.y2 - region.y1 };
  return svg('g', properties, svg('rect', { ...edges, class: 'halo' }), svg('rect', { ...edges, class: 'line' }));
}
