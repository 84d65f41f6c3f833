// The console: runs, and the status line. It also switches between the two views.

import { filterApi, loadApi } from './api.js';
import {
  Problem, attempt, byId, call, complain, fill, h, knownToken, messages, moment, pause, rememberToken, request, takeLink,
} from './client.js';
import { goTo, loadFiles, upload } from './files.js';

const OFFLINE_LABEL = '[claudebox offline model]';
const STATUS_EVERY_MS = 5000;
const LONGEST_RETRY_MS = 10000;

// ---- Words ---------------------------------------------------------------------------------------------------------

const pretty = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));
const dollars = (value, offline) => (value == null ? '' : `$${Number(value).toFixed(4)}${offline ? ' (made up: the offline model)' : ''}`);
// Of a failed run, its outcome says more than its state; a cancelled one was "killed" too.
const word = (run) => (run.state === 'failed' && run.outcome) || run.state || 'unknown';
// A workspace's own name: the folder above is the same for all of them.
const nameOf = (workspace) => (workspace || '').split('/').filter(Boolean).pop() ?? '(root)';

function badge(text) {
  const good = /^(succeeded|success|completed|done|ok)$/.test(text);
  const busy = /^(running|queued|accepted|starting|waiting|cancelling)$/.test(text);
  return h('span', { class: `state ${good ? 'good' : busy ? 'busy' : 'bad'}` }, text);
}

// The answer of a run, or of a `result` event, wherever it stands.
function answerOf(value) {
  const inner = value?.result ?? value?.answer;
  if (typeof inner === 'string') return inner;
  return inner && typeof inner === 'object' ? answerOf(inner) : '';
}

// A field of a run, or of the result inside it.
function fieldOf(run, ...names) {
  return names.map((name) => run?.[name] ?? run?.result?.[name]).find((value) => value != null);
}

// ---- One run -------------------------------------------------------------------------------------------------------

let shown = { id: null, abort: new AbortController(), lastText: '' };

function showRun(run) {
  const text = word(run);
  const facts = [
    ['State', badge(text)],
    ['Workspace', run.workspace || '(root)'],
    ['Run', run.runId],
    ['Door', run.door],
    ['Started', moment(run.startedAt)],
    ['Finished', moment(run.finishedAt)],
    ['Cost', dollars(fieldOf(run, 'costUsd', 'totalCostUsd'), fieldOf(run, 'offline'))],
    ['Turns', fieldOf(run, 'turns', 'numTurns')],
  ];
  const told = facts.filter(([, value]) => value != null && value !== '');
  byId('run-facts').replaceChildren(...told.map(([name, value]) =>
    h('div', {}, h('dt', {}, name), h('dd', {}, typeof value === 'object' ? value : String(value)))));
  byId('cancel').hidden = isOver(run);
  const reasons = [run.error?.detail, run.detail, run.outcome?.detail, run.error];
  const wrong = reasons.find((reason) => typeof reason === 'string');
  // An ended run is shown twice: when it is opened, and at the end of its events.
  if (isOver(run) && wrong && shown.wrong !== wrong) addEvent('failed', wrong);
  if (isOver(run)) shown.wrong = wrong;
  const raw = byId('run-raw');
  raw.hidden = !isOver(run);
  raw.querySelector('pre').textContent = pretty(run);
  if (run.prompt) showPrompt(run.prompt);
}

const isOver = (run) => run.finishedAt != null || (run.outcome != null && run.state !== 'running');

function showPrompt(prompt) {
  const place = byId('run-prompt');
  place.textContent = prompt;
  place.hidden = false;
}

function addEvent(kind, ...children) {
  byId('events').append(h('li', { class: shown.agent ? `${kind} agent` : kind }, ...children));
}

function addText(text) {
  const trimmed = text.trim();
  // The result repeats the last message.
  if (!trimmed || trimmed === shown.lastText) return;
  shown.lastText = trimmed;
  if (trimmed.startsWith(OFFLINE_LABEL)) byId('offline').hidden = false;
  addEvent('answer', trimmed);
}

const folded = (title, value) => h('details', {}, h('summary', {}, title), h('pre', {}, pretty(value)));

function blocksOf(event) {
  const content = event.message?.content ?? [];
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

function resultText(block) {
  const parts = Array.isArray(block.content) ? block.content : [{ type: 'text', text: pretty(block.content ?? '') }];
  return parts.map((part) => part.text ?? `(${part.type})`).join('\n');
}

// One event of the CLI. Kinds that are not known say nothing: the CLI adds some with every version.
function showEvent(event) {
  const agent = event.parent_tool_use_id ?? event.parentToolUseId ?? null;
  if (event.type === 'assistant' || event.type === 'user') {
    if (agent && agent !== shown.agent) addEvent('soft agent', 'Sub-agent');
    shown.agent = agent;
  }
  if (event.type === 'system' && event.subtype === 'init') {
    // Each turn says it anew.
    const session = event.session_id ?? event.sessionId;
    if (session !== shown.session) addEvent('soft', ['Session started', event.model].filter(Boolean).join(', '));
    shown.session = session;
  } else if (event.type === 'assistant') {
    for (const block of blocksOf(event)) {
      if (block.type === 'text') addText(block.text ?? '');
      else if (block.type === 'thinking') addEvent('soft', folded('Thinking', block.thinking ?? ''));
      else if (block.type === 'tool_use') addEvent('tool', folded(`Tool: ${block.name}`, block.input ?? {}));
    }
  } else if (event.type === 'user') {
    for (const block of blocksOf(event).filter((block) => block.type === 'tool_result')) {
      const failed = block.is_error ?? block.isError;
      addEvent(failed ? 'failed' : 'soft', folded(failed ? 'The tool failed' : 'Tool result', resultText(block)));
    }
  } else if (event.type === 'result') {
    shown.agent = null;
    showResult(event);
  }
}

function showResult(result) {
  addText(answerOf(result) || (typeof result.result === 'string' ? result.result : ''));
  const structured = fieldOf(result, 'structuredOutput', 'structured_output');
  const text = structured === undefined ? '' : pretty(structured);
  if (text && text !== shown.structured) {
    shown.structured = text;
    addEvent('answer', h('div', { class: 'soft' }, 'Structured answer'), h('pre', {}, text));
  }
}

// Follows a run to its end, over lost connections: the server continues after the last id it is given.
async function follow(id, signal) {
  let last = '';
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const headers = { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) };
      const response = await request('GET', `runs/${encodeURIComponent(id)}/events`, { headers, signal });
      byId('following').textContent = '';
      for await (const message of messages(response.body)) {
        if (signal.aborted) return null;
        failures = 0;
        if (message.id !== undefined) last = message.id;
        if (message.event === 'end') return JSON.parse(message.data);
        if (message.event === 'event') showEvent(JSON.parse(message.data));
      }
    } catch (error) {
      if (signal.aborted) return null;
      if (error instanceof Problem && error.status < 500 && error.status !== 429) throw error;
    }
    byId('following').textContent = 'The connection was lost; trying again…';
    await pause(Math.min(500 * 2 ** failures, LONGEST_RETRY_MS), signal);
  }
  return null;
}

// Opens a run: what is known of it, then its events from the beginning.
async function openRun(run, prompt) {
  shown.abort.abort();
  const mine = { id: run.runId, abort: new AbortController(), lastText: '' };
  shown = mine;
  for (const id of ['offline', 'run-prompt', 'run-raw']) byId(id).hidden = true;
  byId('events').replaceChildren();
  byId('following').textContent = '';
  byId('run-panel').hidden = false;
  if (prompt) showPrompt(prompt);
  showRun(run);
  markRuns();
  byId('run-panel').scrollIntoView({ block: 'nearest' });
  await attempt(async () => {
    const end = await follow(mine.id, mine.abort.signal);
    if (!end || shown !== mine) return;
    mine.agent = null;
    showResult(end);
    showRun(end);
    await Promise.all([loadRuns(), loadFiles(), loadStatus()]);
  });
}

async function startRun() {
  const value = (id) => byId(id).value.trim();
  const wanted = { prompt: byId('prompt').value, workspace: value('workspace'), createWorkspace: true, async: true };
  if (value('model')) wanted.model = value('model');
  if (value('effort')) wanted.effort = value('effort');
  if (byId('no-continue').checked) wanted.noContinue = true;
  byId('run').disabled = true;
  const run = await attempt(async () => {
    if (value('schema')) wanted.jsonSchema = parsed(value('schema'));
    return call('POST', 'run', { json: wanted });
  });
  byId('run').disabled = false;
  if (!run) return;
  goTo(wanted.workspace);
  loadFiles();
  loadRuns();
  loadStatus();
  await openRun(run, wanted.prompt);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Problem(0, { detail: `The JSON schema is no JSON: ${error.message}` });
  }
}

async function cancelRun() {
  const button = byId('cancel');
  button.disabled = true;
  await attempt(() => request('DELETE', `runs/${encodeURIComponent(shown.id)}`));
  button.disabled = false;
  loadRuns();
}

// ---- Recent runs and the status line -------------------------------------------------------------------------------

function runEntry(run) {
  const facts = [run.door, moment(run.createdAt ?? run.startedAt), dollars(run.costUsd, run.offline)].filter(Boolean).join(' · ');
  const open = () => attempt(async () => openRun(await call('GET', `runs/${encodeURIComponent(run.runId)}`)));
  return h('li', {}, h('button', { type: 'button', 'data-run': run.runId, onclick: open },
    h('span', { class: 'label', title: run.workspace }, nameOf(run.workspace)), badge(word(run)), h('span', { class: 'soft' }, facts)));
}

function markRuns() {
  for (const button of byId('runs').querySelectorAll('button')) {
    setCurrent(button, button.dataset.run === shown.id);
  }
}

async function loadRuns(cursor) {
  await attempt(async () => {
    const query = new URLSearchParams({ limit: '20', ...(cursor && { cursor }) });
    const page = await call('GET', `runs?${query}`);
    fill('runs', page.runs.map(runEntry), 'more-runs', page.nextCursor, cursor, 'No runs yet.');
    markRuns();
  });
}

// Whether claudebox answers, and to this token: 'open', 'closed' or 'away'.
async function loadStatus() {
  const say = (...words) => { byId('status').textContent = words.filter(Boolean).join(' · '); };
  let health = '';
  try {
    const { status, version } = await call('GET', 'health');
    health = [status ?? 'ok', version && `version ${version}`].filter(Boolean).join(' · ');
    const { runs = [] } = await call('GET', 'status');
    // It lists the last ones that have ended, too.
    const active = runs.filter((run) => run.status === 'running').length;
    say(health, active === 1 ? '1 run is active' : `${active || 'no'} runs are active`);
    return 'open';
  } catch (error) {
    if (error.status === 401 && health) {
      if (knownToken()) complain(`${error.message}: enter another token above.`);
      say(health, 'enter the token above to see more');
      return 'closed';
    }
    say(health, error instanceof Problem ? error.message : 'claudebox does not answer');
    return 'away';
  }
}

// ---- The page ------------------------------------------------------------------------------------------------------

function setCurrent(element, isCurrent) {
  if (isCurrent) element.setAttribute('aria-current', 'true');
  else element.removeAttribute('aria-current');
}

function show() {
  const isApi = location.hash ? location.hash === '#api' : location.pathname.endsWith('/docs');
  byId('view-api').hidden = !isApi;
  byId('view-console').hidden = isApi;
  setCurrent(byId('tab-api'), isApi);
  setCurrent(byId('tab-console'), !isApi);
  if (isApi) loadApi();
}

let access = 'away';

async function load() {
  access = await loadStatus();
  if (access === 'open') await Promise.all([loadRuns(), loadFiles()]);
  else for (const list of ['runs', 'files']) fill(list, [], `more-${list}`, null, null, 'Nothing to see yet.');
}

// A box that comes back is seen by itself. A refused token is not tried again and again.
async function watch() {
  if (document.hidden || access === 'closed') return;
  if (access === 'away') await load();
  else access = await loadStatus();
}

function useToken(token) {
  rememberToken(token);
  byId('problem').hidden = true;
  load();
  show();
}

function goToHash() {
  const token = takeLink();
  if (token === null) { show(); return; }
  byId('token').value = token;
  useToken(token);
}

function start() {
  byId('token').value = takeLink() ?? knownToken();
  rememberToken(byId('token').value);
  byId('token-form').addEventListener('submit', (event) => { event.preventDefault(); useToken(byId('token').value.trim()); });
  byId('run-form').addEventListener('submit', (event) => { event.preventDefault(); startRun(); });
  byId('run-form').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || byId('run').disabled) return;
    byId('run-form').requestSubmit();
  });
  byId('cancel').addEventListener('click', cancelRun);
  byId('refresh-runs').addEventListener('click', () => loadRuns());
  byId('refresh-files').addEventListener('click', () => loadFiles());
  byId('more-runs').addEventListener('click', (event) => loadRuns(event.target.dataset.cursor));
  byId('more-files').addEventListener('click', (event) => loadFiles(event.target.dataset.cursor));
  byId('upload').addEventListener('change', (event) => upload([...event.target.files]));
  byId('api-filter').addEventListener('input', filterApi);
  window.addEventListener('hashchange', goToHash);
  setInterval(watch, STATUS_EVERY_MS);
  show();
  load();
}

start();
