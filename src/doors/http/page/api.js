// The reading view of the API: drawn from its own description, /openapi.json.

import { attempt, base, byId, call, h } from './client.js';

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'];

let api = null;

function resolved(value) {
  let found = value;
  for (let hops = 0; found?.$ref && hops < 10; hops += 1) {
    const steps = found.$ref.replace(/^#\//, '').split('/').map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'));
    found = steps.reduce((at, part) => at?.[part], api);
  }
  return found ?? {};
}

const refName = (schema) => schema?.$ref?.split('/').at(-1);

function typeOf(schema) {
  if (refName(schema)) return refName(schema);
  const many = schema.oneOf ?? schema.anyOf;
  if (many) return many.map(typeOf).join(' | ');
  if (schema.allOf) return schema.allOf.map(typeOf).join(' & ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const named = (type) => (type === 'array' ? `array of ${typeOf(schema.items ?? {})}` : type);
  const types = [schema.type ?? 'any'].flat().map(named);
  return types.join(' | ') + (schema.format ? ` (${schema.format})` : '');
}

const LIMITS = {
  default: 'default',
  minimum: 'at least',
  maximum: 'at most',
  minLength: 'shortest',
  maxLength: 'longest',
  pattern: 'pattern',
};

function limitsOf(schema) {
  return Object.entries(LIMITS).filter(([key]) => schema[key] !== undefined)
    .map(([key, name]) => `${name} ${JSON.stringify(schema[key])}`).join(', ');
}

// Descriptions mark names of the API with backticks.
const marked = (text) => (text ?? '').split('`').map((part, index) => (index % 2 && part ? h('code', {}, part) : part));
const textBlock = (text) => (text ? h('p', { class: 'text' }, marked(text)) : null);
const textOf = (...parts) => parts.filter(Boolean).join('. ').replace(/\.\. /g, '. ');

// A schema's fields, with those of the schemas inside it; one that holds itself ends at its name.
function fieldsOf(schema, seen = []) {
  const name = refName(schema);
  if (name && seen.includes(name)) return null;
  const known = name ? [...seen, name] : seen;
  const real = resolved(schema);
  const inner = [real.oneOf, real.anyOf, real.allOf, real.items].flat().filter(Boolean);
  const rows = Object.entries(real.properties ?? {}).map(([key, field]) => fieldEntry(
    key, typeOf(field), real.required?.includes(key), field.description ?? resolved(field).description, field, known));
  const lists = inner.map((part) => fieldsOf(part, known)).filter(Boolean);
  if (!rows.length && !lists.length) return name ? valuesOf(real) : null;
  return rows.length ? h('ul', { class: 'fields' }, rows, lists.map((list) => h('li', {}, list))) : h('div', {}, lists);
}

function fieldEntry(name, type, required, description, schema, seen = []) {
  const about = textOf(description, limitsOf(schema));
  return h('li', {}, h('code', {}, name), ' ', h('span', { class: 'soft' }, type),
    required ? h('span', { class: 'required' }, ' required') : null,
    about ? h('div', { class: 'soft' }, marked(about)) : null, fieldsOf(schema, seen));
}

const valuesOf = (schema) => (schema.enum || schema.oneOf?.some((part) => part.const !== undefined)
  ? h('div', { class: 'soft' }, `one of ${typeOf(schema)}`) : null);

// A value that fits a schema, for the examples.
function sampleOf(schema, depth = 0) {
  const real = resolved(schema);
  for (const given of [real.example, real.examples?.[0], real.default, real.const, real.enum?.[0]]) {
    if (given !== undefined) return given;
  }
  const one = (real.oneOf ?? real.anyOf ?? real.allOf)?.find((part) => part.type !== 'null');
  if (one) return sampleOf(one, depth + 1);
  const type = [real.type].flat().find((type) => type !== 'null');
  if (type === 'object' && depth < 4) {
    const fields = Object.entries(real.properties ?? {}).filter(([key]) => real.required?.includes(key));
    return Object.fromEntries(fields.map(([key, field]) => [key, sampleOf(field, depth + 1)]));
  }
  return { array: [], object: {}, integer: 1, number: 1, boolean: true }[type] ?? 'text';
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

function curl(method, path, operation, parameters) {
  const required = parameters.filter((parameter) => parameter.required);
  const example = (parameter) => String(parameter.example ?? sampleOf(parameter.schema ?? {}));
  let target = path;
  for (const parameter of required.filter((parameter) => parameter.in === 'path')) {
    target = target.replace(`{${parameter.name}}`, encodeURIComponent(example(parameter)));
  }
  const query = new URLSearchParams(required.filter((parameter) => parameter.in === 'query')
    .map((parameter) => [parameter.name, example(parameter)]));
  const url = new URL(target.replace(/^\//, ''), base) + (query.size ? `?${query}` : '');
  const lines = [`curl -X ${method.toUpperCase()} ${quoted(url)}`];
  if ((operation.security ?? api.security ?? []).some((entry) => Object.keys(entry).length)) {
    lines.push('-H "Authorization: Bearer $CLAUDEBOX_MODE_API_TOKEN"');
  }
  const [type, media] = Object.entries(resolved(operation.requestBody).content ?? {})[0] ?? [];
  if (type?.includes('json')) {
    const body = media.example ?? sampleOf(media.schema ?? {});
    lines.push(`-H 'Content-Type: ${type}'`, `-d ${quoted(JSON.stringify(body))}`);
  } else if (type) {
    lines.push('--data-binary @FILE');
  }
  return lines.join(' \\\n  ');
}

function copyable(text) {
  const copy = async (event) => {
    await navigator.clipboard.writeText(text);
    event.target.textContent = 'Copied';
  };
  // Browsers give the clipboard to secure pages only.
  return h('div', { class: 'copy' }, h('pre', {}, text),
    navigator.clipboard ? h('button', { type: 'button', onclick: copy }, 'Copy') : null);
}

const contentOf = (content = {}) => Object.entries(content).map(([type, { schema = {} }]) =>
  h('div', {}, h('code', {}, type), ' ', h('span', { class: 'soft' }, typeOf(schema)), fieldsOf(schema)));

function describe(method, path, operation, shared) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map(resolved);
  const body = operation.requestBody && resolved(operation.requestBody);
  const rows = parameters.map(({ name, in: place, required, description, schema = {} }) =>
    fieldEntry(name, `${place}, ${typeOf(schema)}`, required, description, schema));
  const answers = Object.entries(operation.responses ?? {}).map(([status, answer]) => {
    const real = resolved(answer);
    const title = h('summary', {}, h('code', {}, status), ' ', marked(real.description));
    return h('details', {}, title, contentOf(real.content));
  });
  return [
    textBlock(operation.description),
    ...(rows.length ? [h('h4', {}, 'Parameters'), h('ul', { class: 'fields' }, rows)] : []),
    ...(body ? [h('h4', {}, 'Body'), textBlock(body.description), ...contentOf(body.content)] : []),
    ...(answers.length ? [h('h4', {}, 'Answers'), ...answers] : []),
    h('h4', {}, 'Example'), copyable(curl(method, path, operation, parameters)),
  ].filter(Boolean);
}

function operationEntry(method, path, operation, shared) {
  const inside = h('div');
  // Filled when it is opened: a large API has hundreds of schemas to draw.
  const open = () => { if (!inside.childNodes.length) inside.append(...describe(method, path, operation, shared)); };
  const words = `${method} ${path} ${operation.summary ?? ''} ${operation.description ?? ''}`.toLowerCase();
  return h('details', { class: 'operation', 'data-words': words, ontoggle: open },
    h('summary', {}, h('span', { class: `method ${method}` }, method.toUpperCase()), h('code', {}, path),
      h('span', { class: 'soft' }, operation.summary ?? '')), inside);
}

export async function loadApi() {
  if (api) return;
  await attempt(async () => {
    api = await call('GET', 'openapi.json');
    byId('api-title').textContent = [api.info?.title ?? 'API', api.info?.version].filter(Boolean).join(' ');
    byId('api-about').replaceChildren(...marked(api.info?.description));
    const groups = new Map((api.tags ?? []).map((tag) => [tag.name, { about: tag.description, entries: [] }]));
    for (const [path, item] of Object.entries(api.paths ?? {})) {
      for (const method of METHODS.filter((method) => item[method])) {
        const tag = item[method].tags?.[0] ?? 'other';
        if (!groups.has(tag)) groups.set(tag, { entries: [] });
        groups.get(tag).entries.push(operationEntry(method, path, item[method], item.parameters ?? []));
      }
    }
    const sections = [...groups].filter(([, group]) => group.entries.length).map(([tag, group]) =>
      h('section', {}, h('h3', {}, tag), textBlock(group.about), group.entries));
    byId('operations').replaceChildren(...sections);
  });
}

export function filterApi() {
  const words = byId('api-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of byId('operations').children) {
    const entries = [...section.querySelectorAll('.operation')];
    for (const entry of entries) entry.hidden = !words.every((word) => entry.dataset.words.includes(word));
    section.hidden = entries.every((entry) => entry.hidden);
  }
}
