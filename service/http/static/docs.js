// The API's page: every route of the OpenAPI document, its fields and examples first, its schema
// last; and a form that sends a request.

const JSON_TYPE = "application/json";
const SHOWN_TYPES = { array: "list", integer: "whole number", object: "object" };

/** An element with these children, strings among them as text. */
function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children.filter(child => child !== null));
  return element;
}

const code = value => make("pre", "", typeof value === "string" ? value : JSON.stringify(value, null, 2));

/** A route's block, and what it needs of the whole document. */
class Page {
  constructor(api) {
    this.api = api;
  }

  /** What a reference leads to; other nodes are themselves. */
  resolve(node) {
    if (!node?.$ref) return node;
    return node.$ref.slice(2).split("/").reduce((at, key) => at[key], this.api);
  }

  /** The alternatives of a schema, without null. */
  alternatives(schema) {
    const all = schema.anyOf ?? schema.oneOf ?? [schema];
    return all.map(one => this.resolve(one)).filter(one => one.type !== "null");
  }

  /** A schema's type in a few words. */
  type(schema) {
    const said = this.alternatives(this.resolve(schema)).map(one => {
      if (one.enum) return one.enum.map(value => JSON.stringify(value)).join(", ");
      if ("const" in one) return JSON.stringify(one.const);
      if (one.type === "array") return `list of ${this.type(one.items ?? {})}`;
      return one.title && one.properties ? one.title : SHOWN_TYPES[one.type] ?? one.type ?? "anything";
    });
    return [...new Set(said)].join(" or ");
  }

  /** A table of the fields of an object, and below it of the objects in its fields. */
  fields(schema, shown = new Set()) {
    const object = this.resolve(schema);
    if (object.type === "array") return this.fields(object.items, shown);
    const inner = this.alternatives(object);
    if (inner.length > 1) return inner.flatMap(one => this.fields(one, shown));
    const [found] = inner;
    if (found !== object) return this.fields(found, shown);
    if (!found.properties || shown.has(found.title)) return [];
    shown.add(found.title);
    const rows = Object.entries(found.properties).map(([name, field]) => make("tr", "",
      make("td", "", make("code", "", name)),
      make("td", "", this.type(field) + (found.required?.includes(name) ? "" : ", optional")),
      make("td", "", field.description ?? this.resolve(field).description ?? "")));
    const head = make("tr", "", ...["field", "type", "meaning"].map(word => make("th", "", word)));
    const table = make("table", "", make("thead", "", head), make("tbody", "", ...rows));
    const below = Object.values(found.properties).flatMap(field => this.objects(field, shown));
    return [
      make("h4", "", found.title ?? ""),
      found.description ? make("p", "hint", found.description) : null,
      make("div", "wide-table", table),
      ...below,
    ];
  }

  /** Tables of the objects that a field holds. */
  objects(field, shown) {
    return this.alternatives(this.resolve(field)).flatMap(one =>
      one.type === "array" ? this.objects(one.items ?? {}, shown)
        : one.properties ? this.fields(one, shown) : []);
  }

  /** A part of a route: its fields, and an example of each shape. */
  part(title, content, example) {
    if (!content) return [];
    const examples = Object.entries(content.examples ?? {}).flatMap(([name, { value }]) =>
      [make("h4", "", name), example(value)]);
    return [
      make("h3", "", title),
      ...this.fields(content.schema),
      ...(examples.length ? [make("h3", "", `${title}: example`), ...examples] : []),
    ];
  }

  /** The block of one route. */
  route(verb, path, operation) {
    const body = operation.requestBody?.content[JSON_TYPE];
    const good = operation.responses["200"]?.content?.[JSON_TYPE];
    const curl = value =>
      code(`curl -s ${location.origin}${path} -H 'Content-Type: ${JSON_TYPE}' -d '${
        JSON.stringify(value).replaceAll("'", "'\\''")}'`);
    const errors = Object.entries(operation.responses).filter(([status]) => status !== "200")
      .map(([status, answer]) => make("tr", "",
        make("td", "", make("code", "", status)), make("td", ""), make("td", "", answer.description)));
    const block = make("details", "route",
      make("summary", "", make("span", "verb", verb.toUpperCase()), make("code", "", path),
        make("span", "what", operation.summary ?? "")),
      operation.description ? make("p", "hint", operation.description) : null,
      ...this.part("Request", body, curl),
      ...this.part("Answer", good, code),
      ...(errors.length ? [make("h3", "", "Errors"), make("table", "", make("tbody", "", ...errors))] : []),
      make("details", "schema", make("summary", "", "Schema"), code(operation)));
    block.id = operation.operationId;
    return block;
  }

  /** All routes, by tag. */
  routes() {
    const byTag = grouped(this.operations(), ([, , operation]) => operation.tags?.[0] ?? "");
    return [...byTag].flatMap(([tag, operations]) => [
      make("h2", "", tag.charAt(0).toUpperCase() + tag.slice(1)),
      ...operations.map(([verb, path, operation]) => this.route(verb, path, operation)),
    ]);
  }

  /** Verb, path and operation of every route. */
  operations() {
    return Object.entries(this.api.paths).flatMap(([path, verbs]) =>
      Object.entries(verbs).map(([verb, operation]) => [verb, path, operation]));
  }
}

/** Items by their key, in order. */
function grouped(items, key) {
  const found = new Map();
  for (const item of items) found.set(key(item), [...(found.get(key(item)) ?? []), item]);
  return found;
}

const at = name => document.getElementById(name);

/** Fill the form with the example of a route. */
function fill(api) {
  const content = api.paths[at("path").value].post.requestBody.content[JSON_TYPE];
  const [{ value }] = Object.values(content.examples);
  at("body").value = JSON.stringify(value, null, 2);
}

async function send(event) {
  event.preventDefault();
  const headers = { "Content-Type": JSON_TYPE };
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  // Relative, so that it also works behind a proxy that serves it under a prefix.
  const path = at("path").value.slice(1);
  const reply = await fetch(path, { method: "POST", headers, body: at("body").value });
  at("answer").hidden = false;
  at("answer").textContent = `${reply.status}\n${JSON.stringify(await reply.json(), null, 2)}`;
}

try {
  const api = await (await fetch("openapi.json")).json();
  const page = new Page(api);
  at("routes").append(...page.routes());
  const posted = page.operations().filter(([verb, path]) => verb === "post" && !path.includes("{"));
  at("path").append(...posted.map(([, path]) => make("option", "", path)));
  fill(api);
  at("path").onchange = () => fill(api);
  at("form").onsubmit = send;
  at(location.hash.slice(1) || "score")?.setAttribute("open", "");
} catch (error) {
  at("problem").hidden = false;
  at("problem").textContent = `The API could not be read: ${error.message}`;
}
