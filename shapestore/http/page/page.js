// The page of `shapestore serve`: what is stored, who waits for it, and the rows of one shape, as they change.
//
// Whatever comes from the server goes into the page as text, never as markup; the page's policy forbids the rest.
import { follow } from "./follow.js";

const LOOK_EVERY_MS = 1000;
const MOST_ROWS = 1000; // shown; all of them are followed

const secret = new URLSearchParams(location.hash.slice(1)).get("secret");
const element = (id) => document.getElementById(id);
const chosen = { key: null, ending: new AbortController() };

// --- what is stored, and who waits

async function look() {
  try {
    const answer = await fetch(`overview?${new URLSearchParams(secret === null ? {} : { secret })}`);
    if (answer.status === 401) throw new Error("the secret is missing or wrong: put #secret=… behind this page's address");
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    element("state").textContent = `${error.message ?? error}`;
  }
}

function show({ store, tables, shapes }) {
  const waiting = shapes.reduce((sum, { clients }) => sum + clients.length, 0);
  element("state").textContent = `${store} · ${counted(shapes.length, "shape")} · ${counted(waiting, "client")} waiting`;
  fill(element("tables"), tables.map((table) => choice(`table ${table}`, table, null, { path: "v1/shape", table })));
  fill(element("shapes"), shapes.map((shape) => choice(shape.handle, described(shape), standing(shape), {
    path: `stored/${shape.handle}/v1/shape`,
  })));
  showWaiting(shapes.find(({ handle, whole }) => handle === chosen.key || (whole && `table ${whole}` === chosen.key)));
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function described({ table, where, params, columns }) {
  const values = Object.entries(params).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
  return [table, where && `where ${where}`, values.join(", "), columns && `(${columns.join(", ")})`].filter(Boolean).join(" ");
}

function standing({ live, rows, refreshed_seconds_ago: age, clients }) {
  const state = live ? "live" : `read ${Math.round(age)} s ago`;
  return `${counted(rows, "row")} · ${state} · ${counted(clients.length, "client")} waiting`;
}

function showWaiting(shape) {
  const clients = shape?.clients ?? [];
  element("waiting-title").hidden = clients.length === 0;
  fill(element("waiting"), clients.map(({ address, agent, how, seconds }) =>
    made("li", `${address} · ${how} for ${Math.round(seconds)} s · ${agent}`)));
}

function choice(key, text, below, { path, ...params }) {
  const button = made("button", text);
  button.type = "button";
  button.setAttribute("aria-pressed", String(key === chosen.key));
  if (below !== null) {
    const line = made("span", below);
    line.className = "quiet";
    button.append(line);
  }
  button.addEventListener("click", () => choose(key, text, path, params));
  const item = document.createElement("li");
  item.dataset.key = key;
  item.append(button);
  return item;
}

// --- the rows of the one that was chosen

function choose(key, text, path, params) {
  chosen.ending.abort();
  chosen.key = key;
  chosen.ending = new AbortController();
  element("title").textContent = text;
  element("address").textContent = `GET ${new URL(path, location.href).pathname}?${new URLSearchParams({ ...params, offset: "-1" })}`;
  element("counts").textContent = "reading …";
  const rows = new Rows();
  const asked = secret === null ? params : { ...params, secret };
  follow(path, asked, chosen.ending.signal, {
    begin: (columns) => rows.begin(columns),
    change: (messages) => rows.change(messages),
    upToDate: () => rows.counted(),
    fail: (text) => { element("counts").textContent = text; },
  });
  look();
}

class Rows {
  constructor() {
    this.begin([]);
  }

  begin(columns) {
    this.lines = new Map();
    this.changes = 0;
    this.isWhole = false;
    this.head(columns);
    fill(element("rows"), []);
    element("more").textContent = "";
  }

  head(columns) {
    this.columns = columns;
    const line = document.createElement("tr");
    line.append(...columns.map((column) => made("th", column)));
    fill(element("columns"), [line]);
  }

  change(messages) {
    for (const { key, value, headers } of messages) {
      if (headers.operation === "delete") this.drop(key);
      else this.put(key, value);
      if (this.isWhole) this.changes += 1;
    }
    const hidden = this.lines.size - element("rows").childElementCount;
    element("more").textContent = hidden > 0 ? `and ${counted(hidden, "row")} more` : "";
  }

  counted() {
    this.isWhole = true;
    element("counts").textContent = `${counted(this.lines.size, "row")}, ${counted(this.changes, "change")} so far`;
  }

  put(key, value) {
    if (this.columns.length === 0) this.head(Object.keys(value)); // of a shape whose columns nothing describes
    const line = this.lines.get(key) ?? document.createElement("tr");
    if (!this.lines.has(key)) {
      this.lines.set(key, line);
      line.append(...this.columns.map(() => document.createElement("td")));
      if (element("rows").childElementCount < MOST_ROWS) element("rows").append(line);
    }
    for (const [column, content] of Object.entries(value)) {
      const cell = line.children[this.columns.indexOf(column)];
      if (cell !== undefined) this.write(cell, content);
    }
  }

  write(cell, content) {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    if (this.isWhole && text !== cell.textContent) {
      const fresh = document.createElement("td"); // a new element begins its animation again
      cell.replaceWith(fresh);
      fresh.className = "changed";
      cell = fresh;
    }
    cell.textContent = text;
    cell.title = text;
    cell.classList.toggle("null", content === null);
  }

  drop(key) {
    this.lines.get(key)?.remove();
    this.lines.delete(key);
  }
}

// --- making elements

function made(name, text) {
  const one = document.createElement(name);
  one.textContent = text;
  return one;
}

function fill(parent, children) {
  // Replaced only where something differs: a button that is being pressed stays the one that it was.
  const now = [...parent.children];
  const same = now.length === children.length && now.every((child, place) => child.isEqualNode(children[place]));
  if (!same) parent.replaceChildren(...children);
}

addEventListener("hashchange", () => location.reload());
look();
setInterval(() => { if (!document.hidden) look(); }, LOOK_EVERY_MS);
