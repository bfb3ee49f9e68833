// A picture that somebody has chosen: as it is, or scaled down here if the instance takes no such large ones.

import { Problem } from './api.js';

const QUALITY = 0.92;

const picked = (files) => [...files].find((file) => file.type.startsWith('image/') || /\.(heic|heif|tiff?|webp|avif)$/i.test(file.name));

// The first picture of what was dropped or pasted; null if there is none.
export function pictureOf(transfer) {
  return picked(transfer?.files ?? []) ?? null;
}

function size(file, limits, bitmap) {
  const { width, height } = bitmap;
  const bySide = limits.max_side === null ? 1 : limits.max_side / Math.max(width, height);
  const byPixels = Math.sqrt(limits.max_pixels / (width * height));
  const byBytes = file.size < limits.max_bytes ? 1 : Math.sqrt((0.9 * limits.max_bytes) / file.size);
  const share = Math.min(1, bySide, byPixels, byBytes);
  return { share, width: Math.max(1, Math.floor(width * share)), height: Math.max(1, Math.floor(height * share)) };
}

function encoded(bitmap, width, height) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff'; // as JPEG has no transparency
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return new Promise((done) => { canvas.toBlob(done, 'image/jpeg', QUALITY); });
}

// What is sent: { blob, scaled }. It never leaves this page but for the search.
export async function fitting(file, limits) {
  if (!file.size) throw new Problem('NoSpecifiedPicContent', 'The file is empty.', 0);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (file.size < limits.max_bytes) return { blob: file, scaled: false }; // the server knows more formats
    throw new Problem('InvalidPicContent', 'The picture is too large for this instance, and this browser cannot scale it down.', 0);
  }
  try {
    let { share, width, height } = size(file, limits, bitmap);
    if (share === 1) return { blob: file, scaled: false };
    for (;;) {
      const blob = await encoded(bitmap, width, height);
      if (!blob) throw new Problem('InvalidPicContent', 'This browser cannot scale the picture down.', 0);
      if (blob.size < limits.max_bytes) return { blob, scaled: true };
      [width, height] = [width, height].map((edge) => Math.max(1, Math.floor(edge * 0.75)));
    }
  } finally {
    bitmap.close();
  }
}
