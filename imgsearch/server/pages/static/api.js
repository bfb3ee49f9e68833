// Requests to the server, and what can go wrong with them. All addresses are below this page's own.

export class Problem extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

function address(path, params) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return `ui/api/${path}${given.length ? `?${query}` : ''}`;
}

async function send(path, params, options) {
  let response;
  try {
    response = await fetch(address(path, params), { credentials: 'same-origin', cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem('Unreachable', 'The server cannot be reached. Is it still running?', 0);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const message = told.Message ?? `The server answers with status ${response.status}.`;
  if (told.Code === 'LoginRequired') document.dispatchEvent(new CustomEvent('login-needed'));
  throw new Problem(told.Code ?? 'InternalError', sentence(message), response.status);
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}

export async function get(path, params = {}, signal = undefined) {
  return (await send(path, params, { signal })).json();
}

export async function post(path, params, body, signal = undefined) {
  return (await send(path, params, { method: 'POST', body, signal })).json();
}

// A small picture as a blob, with the size of the picture itself.
export async function thumbnail(params, signal) {
  const response = await send('thumbnail', params, { signal });
  return {
    blob: await response.blob(),
    width: Number(response.headers.get('X-Picture-Width')),
    height: Number(response.headers.get('X-Picture-Height')),
    changed: response.headers.get('X-Picture-Changed') === 'true',
  };
}
