// What every part of the page needs: elements, and calls of the API with the person's token.
//
// Text that came from a run, a file name or the API becomes a text node, never markup. Addresses are relative, so the
// page also works below a path of a proxy.

const TOKEN_KEY = 'claudebox-token';
const TOKEN_LINK = '#token=';

export const byId = (id) => document.getElementById(id);
export const base = new URL('.', document.baseURI);

// An element: attributes, listeners (onclick: f) and properties by name, then children; strings become text.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== ''));
  return element;
}

let token = '';
// Where storage is off, the token lives as long as the page.
try { token = sessionStorage.getItem(TOKEN_KEY) ?? ''; } catch { /* see above */ }

export const knownToken = () => token;

export function rememberToken(text) {
  token = text;
  try { sessionStorage.setItem(TOKEN_KEY, token); } catch { /* see above */ }
}

// A link may bring the token, behind the mark that no server is sent. It leaves the address, and so the history, at once.
export function takeLink() {
  if (!location.hash.startsWith(TOKEN_LINK)) return null;
  const text = location.hash.slice(TOKEN_LINK.length);
  history.replaceState(null, '', location.pathname + location.search);
  try { return decodeURIComponent(text); } catch { return text; }
}

// What the API says when it does not do as asked, as it says it.
export class Problem extends Error {
  constructor(status, body) {
    super(`${body.detail ?? `status ${status}`}${body.code ? ` (${body.code})` : ''}`);
    this.status = status;
  }
}

export async function request(method, path, { json, body, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (json !== undefined) all['Content-Type'] = 'application/json';
  const sent = json === undefined ? body : JSON.stringify(json);
  const response = await fetch(new URL(path, base), { method, headers: all, body: sent, signal, cache: 'no-store' });
  if (response.ok) return response;
  const text = await response.text();
  let problem = { detail: text.slice(0, 500) || response.statusText };
  try { problem = JSON.parse(text); } catch { /* not ours, so shown as it is */ }
  throw new Problem(response.status, problem);
}

export const call = async (method, path, options) => (await request(method, path, options)).json();

// Shows what went wrong above everything.
export function complain(text) {
  byId('problem').textContent = text;
  byId('problem').hidden = false;
}

// Runs `action`; what goes wrong is shown.
export async function attempt(action) {
  byId('problem').hidden = true;
  try {
    return await action();
  } catch (error) {
    if (error.name === 'AbortError') return undefined;
    complain(error instanceof Problem ? error.message : `${error.message}: is claudebox still running?`);
    return undefined;
  }
}

// The messages of an event stream: {id, event, data}.
export async function* messages(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let message = { event: 'message', data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines.map((line) => line.replace(/\r$/, ''))) {
        if (line === '') {
          if (message.data.length) yield { ...message, data: message.data.join('\n') };
          message = { event: 'message', data: [] };
          continue;
        }
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (field === 'data') message.data.push(text);
        else if (field === 'event' || field === 'id') message[field] = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});

export const moment = (value) => (value == null ? '' : new Date(value).toLocaleString());

export function size(bytes) {
  if (bytes == null) return '';
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${unit ? (bytes / 1024 ** unit).toFixed(1) : bytes} ${units[unit]}`;
}

// Fills a list with a page of entries, and its "More" button with the way to the next page.
export function fill(list, entries, more, cursor, next, none) {
  const items = entries.length ? entries : next ? [] : [h('li', { class: 'none' }, none)];
  if (next) byId(list).append(...items);
  else byId(list).replaceChildren(...items);
  byId(more).hidden = !cursor;
  byId(more).dataset.cursor = cursor ?? '';
}
