// The files of workspaces: one folder at a time, downloads and uploads.

import { attempt, byId, call, fill, h, moment, request, size } from './client.js';

// The folder shown: its names, as they read and as they stand in an address.
let folder = [];

const address = (steps) => `files/${steps.map((step) => step.encoded).join('/')}`;
const step = (name, encoded) => ({ name, encoded: encoded ?? encodeURIComponent(name) });

export function goTo(path) {
  folder = path.split('/').filter((name) => name && name !== '.').map((name) => step(name));
}

function showFolder(steps) {
  folder = steps;
  return loadFiles();
}

function fileEntry(entry) {
  const here = [...folder, step(entry.name, entry.encodedName)];
  if (entry.type === 'dir') {
    return h('li', {}, h('button', { type: 'button', onclick: () => showFolder(here) },
      h('span', { class: 'label folder' }, `${entry.name}/`), h('span', { class: 'soft' }, moment(entry.mtime))));
  }
  if (entry.type === 'file') {
    const facts = `${size(entry.size)} · ${moment(entry.mtime)}`;
    return h('li', {}, h('button', { type: 'button', title: 'Download', onclick: () => download(here) },
      h('span', { class: 'label' }, entry.name), h('span', { class: 'soft' }, facts)));
  }
  return h('li', {}, h('span', { class: 'plain soft' }, `${entry.name} (${entry.type})`));
}

export async function loadFiles(cursor) {
  const up = (length) => () => showFolder(folder.slice(0, length));
  const crumbs = folder.flatMap(({ name }, at) => [h('span', { class: 'soft' }, '/'),
    h('button', { type: 'button', onclick: up(at + 1) }, name)]);
  byId('crumbs').replaceChildren(h('button', { type: 'button', onclick: up(0) }, 'workspaces'), ...crumbs);
  const asked = address(folder);
  try {
    const page = await call('GET', `${asked}?${new URLSearchParams({ limit: '200', ...(cursor && { cursor }) })}`);
    if (asked !== address(folder)) return;
    fill('files', page.entries.map(fileEntry), 'more-files', page.nextCursor, cursor, 'This folder is empty.');
  } catch (error) {
    if (asked === address(folder)) fill('files', [], 'more-files', null, null, error.message);
  }
}

// The token goes with a header, which a plain link cannot send; so the file passes through the page's memory.
async function download(steps) {
  await attempt(async () => {
    const blob = await (await request('GET', address(steps))).blob();
    const url = URL.createObjectURL(blob);
    h('a', { href: url, download: steps.at(-1).name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });
}

export async function upload(files) {
  const state = byId('upload-state');
  const target = folder;
  await attempt(async () => {
    for (const file of files) {
      state.textContent = `Uploading ${file.name} (${size(file.size)})…`;
      await request('PUT', address([...target, step(file.name)]), { body: file });
    }
    state.textContent = files.length === 1 ? `${files[0].name} is uploaded.` : `${files.length} files are uploaded.`;
  });
  if (!byId('problem').hidden) state.textContent = '';
  byId('upload').value = '';
  await loadFiles();
}
